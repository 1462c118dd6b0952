package webhooks

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

func TestAddressesOfThisHostAndOfMetadataAreDenied(t *testing.T) {
	guarded := Settings{DenyAddresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	for _, address := range []string{
		"127.0.0.1", "127.8.8.8", "0.0.0.0", "169.254.169.254", "::1", "::", "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1",
		"::ffff:169.254.169.254", "100.100.100.200", "224.0.0.1", "ff02::1", "255.255.255.255", "64:ff9b::7f00:1", "2002:7f00:1::", "10.1.2.3", "192.0.0.192", "::7f00:1",
		"168.63.129.16", "fd20:ce::254", "::ffff:0:7f00:1", "0.1.2.3", "::ffff:0.1.2.3",
	} {
		if guarded.checkAddress(netip.MustParseAddr(address)) == nil {
			t.Errorf("%s is not denied", address)
		}
	}
	for _, address := range []string{"10.2.0.1", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fd12::1"} {
		if err := guarded.checkAddress(netip.MustParseAddr(address)); err != nil {
			t.Error(err)
		}
	}
	guarded.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if guarded.checkAddress(netip.MustParseAddr("::ffff:127.0.0.1")) != nil {
		t.Error("an address that is allowed is denied")
	}
}

// The host's own addresses are denied, on whatever interface they are and however they
// are written, and those of its neighbours are not.
func TestTheHostsOwnAddressesAreDenied(t *testing.T) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range interfaces {
		prefix, err := netip.ParsePrefix(one.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range []netip.Addr{prefix.Addr(), netip.AddrFrom16(prefix.Addr().As16())} {
			if (Settings{}).checkAddress(address) == nil {
				t.Errorf("%s, which is this host's, is not denied", address)
			}
		}
		allowed := Settings{AllowAddresses: []netip.Prefix{netip.PrefixFrom(prefix.Addr(), prefix.Addr().BitLen())}}
		if err := allowed.checkAddress(prefix.Addr()); err != nil {
			t.Errorf("%s is allowed by the configuration: %v", prefix.Addr(), err)
		}
	}
	given := []net.Addr{
		&net.IPNet{IP: net.IPv4(192, 168, 7, 5), Mask: net.CIDRMask(24, 32)},
		&net.IPNet{IP: net.ParseIP("2001:db8::5"), Mask: net.CIDRMask(64, 128)},
		&net.IPNet{IP: net.ParseIP("fd12::5"), Mask: net.CIDRMask(64, 128)},
	}
	for address, want := range map[string]bool{
		"192.168.7.5": true, "2001:db8::5": true, "fd12::5": true,
		"192.168.7.6": false, "2001:db8::6": false, "192.168.7.255": false, "8.8.8.8": false,
	} {
		if got := isOwn(netip.MustParseAddr(address), given); got != want {
			t.Errorf("%s: own is %t", address, got)
		}
	}
}

func TestNothingGoesToADeniedAddressOrAlongARedirect(t *testing.T) {
	w := newWorld(t)
	secret := newReceiver(t, nil)
	redirecting := newReceiver(t, func(_ int, out http.ResponseWriter, in *http.Request) {
		http.Redirect(out, in, secret.URL, http.StatusTemporaryRedirect)
	})
	for name, test := range map[string]struct {
		url   string
		allow []netip.Prefix
		want  string
	}{
		"denied":        {secret.URL, nil, "the address is denied"},
		"denied_name":   {strings.Replace(secret.URL, "127.0.0.1", "localhost", 1), nil, "the address is denied"},
		"redirected_to": {redirecting.URL, settings().AllowAddresses, "redirects are not followed"},
	} {
		closed := settings(Receiver{Name: name, URL: test.url})
		closed.AllowAddresses, closed.GiveUpAfter = test.allow, time.Nanosecond
		d := New(Config{Settings: closed}, w.pipe.Pipeline)
		delivery := pipeline.Delivery{ID: "7-1", Service: 7, Receiver: name, Body: []byte(`{}`)}
		failed := (&loop{Deliverer: d, subject: pipeline.HookSubject(name, 7), service: 7}).attempt(context.Background(), delivery, 1)
		if failed == nil || !strings.Contains(failed.text, test.want) || strings.Contains(failed.text, "://") {
			t.Errorf("%s: %+v", name, failed)
		}
		d.client.CloseIdleConnections()
	}
	if len(secret.came) > 0 {
		t.Error("the receiver that must not be asked was asked")
	}
}

func TestSettingsFile(t *testing.T) {
	folder := t.TempDir()
	secret, short, open := filepath.Join(folder, "secret"), filepath.Join(folder, "short"), filepath.Join(folder, "open")
	for path, text := range map[string]string{secret: secretText, short: "abc", open: secretText} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"receivers: [{name: ops, url: 'https://host/', secret_file: " + secret + ", states: [WARNING, DELETED]}]\nallow_addresses: [10.0.0.0/8]\ntimeout: 3s\n": "",
		"":             "",
		"receiver: []": "line 1: receiver is unknown",
		"receivers: [{name: 'a b', url: 'https://h'}]":                          "must be letters",
		"receivers: [{name: a, url: 'file:///etc'}]":                            "must look like https",
		"receivers: [{name: a, url: 'https://h:0/'}]":                           "the port must be between 1 and 65535",
		"receivers: [{name: a, url: 'https://h:70000/'}]":                       "the port must be between 1 and 65535",
		"receivers: [{name: a, url: 'https://h'}, {name: a, url: 'https://h'}]": "another receiver",
		"receivers: [{name: a, url: 'https://h', states: [HAPPY]}]":             "which is not a state",
		"receivers: [{name: a, url: 'https://h', secret_file: " + short + "}]":  "must have 16 to",
		"receivers: [{name: a, url: 'https://h', secret_file: " + open + "}]":   "chmod 640",
		"secrets: [{name: a, file: /nowhere}]":                                  "no such file",
		"allow_addresses: [ten]":                                                "ten",
		"services: true\n" + strings.Repeat("# a comment\n", maxSettings/12):    "larger than 1048576 bytes",
		"secrets: [{name: 'a b', file: " + secret + "}]":                        "must be letters",
		"secrets: [{name: a}]":                                                  "no file is set",
		"secrets: [{name: a, file: " + open + "}]":                              "chmod 640",
		"timeout: -1s":                  "times must not be negative",
		"longest_pause: soon":           "line 1: `soon` is not a time, such as 30s",
		"timeot: 5s\nservices: maybe\n": "webhooks.yaml: line 1: timeot is unknown; line 2: `maybe` is not true or false",
		"receivers: 5\n":                "line 1: `5` is not a list of receivers",
		"receivers: [{name: a, url: 'https://h', kinds: [weather]}]": "weather",
		"receivers: [{name: a, url: 'https://user:geheim@h/'}]":      "must",
	} {
		path := filepath.Join(folder, "webhooks.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		read, err := ReadSettings(path)
		if want == "" && (err != nil || read.GiveUpAfter != 24*time.Hour) {
			t.Errorf("%s: %+v %v", text, read, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestSecretsInBase64(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	// An example of the Standard Webhooks specification's own form.
	if err := os.WriteFile(path, []byte("whsec_MDEyMzQ1Njc4OWFiY2RlZg==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if secret, err := readSecret(path); err != nil || string(secret) != "0123456789abcdef" {
		t.Errorf("%q, %v", secret, err)
	}
}
