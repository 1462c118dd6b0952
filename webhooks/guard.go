package webhooks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// errDenied is returned when an address must not be posted to.
var errDenied = errors.New("the address is denied: allow it with allow_addresses in the webhooks file")

// metadata are the addresses at which clouds tell machines their secrets, beside the link-local 169.254.169.254, and the shared
// range of carriers, where some are.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::/64"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("192.0.0.0/24"),
}

// thisNetwork is what a host that has no address yet calls its own network.
var thisNetwork = netip.MustParsePrefix("0.0.0.0/8")

// checkAddress refuses addresses of this host, link-local and metadata ones, and those that nobody has; the configuration has the
// last word.
func (s Settings) checkAddress(address netip.Addr) error {
	address = address.Unmap().WithZone("")
	if within(s.AllowAddresses, address) {
		return nil
	}
	denied := address.IsLoopback() || thisNetwork.Contains(address) || address == netip.IPv6Unspecified() || address.IsLinkLocalUnicast() ||
		address.IsMulticast() || address == netip.AddrFrom4([4]byte{255, 255, 255, 255}) ||
		within(metadata, address) || within(translated, address) || within(s.DenyAddresses, address)
	if denied {
		return fmt.Errorf("%s: %w", address, errDenied)
	}
	// They are asked for each time: addresses come and go while the process runs.
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("%s: the host's addresses cannot be read: %w: %w", address, err, errDenied)
	}
	if isOwn(address, interfaces) {
		return fmt.Errorf("%s is an address of this host: %w", address, errDenied)
	}
	return nil
}

// isOwn reports whether one of the host's interfaces has the address.
func isOwn(address netip.Addr, interfaces []net.Addr) bool {
	for _, one := range interfaces {
		own, err := netip.ParsePrefix(one.String())
		if err == nil && own.Addr().Unmap().WithZone("") == address {
			return true
		}
	}
	return false
}

// translated hold an IPv4 address inside an IPv6 one, by which a denied address could be reached.
var translated = []netip.Prefix{
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("::ffff:0:0:0/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
}

func within(networks []netip.Prefix, address netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// maxConnsPerHost bounds the connections to one host, which can have many receivers.
const maxConnsPerHost = 32

// newClient posts without a proxy, follows no redirect, and looks at each address when it connects: what a name resolved to
// earlier says nothing.
func newClient(settings func() Settings) *http.Client {
	dialer := &net.Dialer{
		Timeout: 5 * time.Second,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%s: %w", address, errDenied)
			}
			return settings().checkAddress(to.Addr())
		},
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: nil, DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConns: 100, MaxIdleConnsPerHost: 4, MaxConnsPerHost: maxConnsPerHost, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 16 << 10, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
