package webhooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

type failure struct {
	text string
	// after is the receiver's Retry-After.
	after time.Duration
	// final reports whether a retry is useless.
	final bool
}

// attempt posts a delivery once.
func (l *loop) attempt(ctx context.Context, delivery pipeline.Delivery, count int) (failed *failure) {
	settings := l.current()
	address, secretFile, failed := settings.targetOf(delivery)
	if failed != nil {
		return failed
	}
	ctx, cancel := context.WithTimeout(ctx, settings.Timeout)
	defer cancel()
	request, err := l.request(ctx, address, secretFile, delivery, count)
	if err != nil {
		return &failure{text: err.Error()}
	}
	begun := time.Now()
	failed = l.post(request)
	l.metrics.seconds.WithLabelValues(labelOf(delivery)).Observe(time.Since(begun).Seconds())
	return failed
}

// targetOf returns the address of a delivery by the current settings, and the file with the secret for its signature; empty for
// none.
func (s Settings) targetOf(delivery pipeline.Delivery) (address, secretFile string, failed *failure) {
	switch {
	case delivery.Receiver != "":
		at := slices.IndexFunc(s.Receivers, func(r Receiver) bool { return r.Name == delivery.Receiver })
		if at < 0 {
			return "", "", &failure{text: "the configuration no longer has this receiver", final: true}
		}
		return s.Receivers[at].URL, s.Receivers[at].SecretFile, nil
	case !s.Services:
		return "", "", &failure{text: "services may not have receivers: `services: true` in the webhooks file allows it", final: true}
	case delivery.Secret == "":
		return delivery.URL, "", nil
	}
	at := slices.IndexFunc(s.Secrets, func(secret Secret) bool { return secret.Name == delivery.Secret })
	if at < 0 {
		return "", "", &failure{text: "the configuration has no secret " + delivery.Secret}
	}
	if users := s.Secrets[at].Users; len(users) > 0 && !slices.Contains(users, delivery.Owner) {
		return "", "", &failure{text: fmt.Sprintf("the secret %s is not for services of %s", delivery.Secret, delivery.Owner)}
	}
	return delivery.URL, s.Secrets[at].File, nil
}

func (l *loop) request(ctx context.Context, address, secretFile string, delivery pipeline.Delivery, count int) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(delivery.Body))
	if err != nil {
		return nil, errors.New("the URL cannot be posted to")
	}
	now := time.Now()
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Flowjet/"+l.config.Version)
	request.Header.Set(HeaderID, delivery.ID)
	request.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(HeaderAttempt, strconv.Itoa(count))
	if secretFile != "" {
		secret, err := readSecret(secretFile)
		if err != nil {
			return nil, err
		}
		request.Header.Set(HeaderSignature, Sign(secret, delivery.ID, now, delivery.Body))
	}
	return request, nil
}

// maxAnswer is how many bytes of an answer are read, to reuse the connection.
const maxAnswer = 4 << 10

func (l *loop) post(request *http.Request) *failure {
	response, err := l.client.Do(request)
	if err != nil {
		return &failure{text: textOf(err)}
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	switch {
	case response.StatusCode >= 200 && response.StatusCode <= 299:
		return nil
	case response.StatusCode >= 300 && response.StatusCode <= 399:
		return &failure{text: abridged(response.Status) + ": redirects are not followed"}
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) // too large a number gives the largest
	return &failure{text: abridged(response.Status), after: time.Duration(min(max(seconds, 0), mostRetryAfter)) * time.Second}
}

// textOf returns an error of the client without the URL, which may hold a secret. A timeout of the connection or of its name's resolution is reported as such.
func textOf(err error) string {
	if failed, is := errors.AsType[*url.Error](err); is {
		err = failed.Err
	}
	if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(*net.OpError)) {
		return "no answer before the timeout"
	}
	return abridged(err.Error())
}

// maxText bounds in bytes what of a receiver's answer, or certificate, is kept in the text of a failure.
const maxText = 500

func abridged(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxText)], "") }

// mostRetryAfter is the most seconds that a receiver can ask for: more would not fit a time.Duration.
const mostRetryAfter = int(math.MaxInt64 / time.Second)

// title returns the name of a delivery's receiver in messages: its own, or its host.
func title(delivery pipeline.Delivery) string {
	if delivery.Receiver != "" {
		return "receiver " + delivery.Receiver
	}
	host := hostOf(delivery.URL)
	if host == "" {
		return fmt.Sprintf("a receiver of service %d", delivery.Service)
	}
	return fmt.Sprintf("the receiver at %s of service %d", host, delivery.Service)
}

// hostOf returns the host of a URL with its port; empty for a text that is no URL.
func hostOf(text string) string {
	parsed, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return parsed.Host
}

// The headers of a delivery are those of Standard Webhooks (https://www.standardwebhooks.com), for which there are libraries in
// most languages.
const (
	// HeaderID is the transition's id: the same at every attempt.
	HeaderID = "Webhook-Id"
	// HeaderTimestamp is when the attempt was made, in unix seconds.
	HeaderTimestamp = "Webhook-Timestamp"
	// HeaderSignature is "v1," and the base64 of HMAC-SHA256 over id, timestamp and body, with dots between.
	HeaderSignature = "Webhook-Signature"
	// HeaderAttempt counts from 1.
	HeaderAttempt = "Flowjet-Attempt"
)

const (
	leastSecret = 16
	maxSecret   = 4096
	// secretPrefix marks a secret that is written in base64.
	secretPrefix = "whsec_"
)

// Sign returns the signature of a delivery.
func Sign(secret []byte, id string, at time.Time, body []byte) string {
	code := hmac.New(sha256.New, secret)
	fmt.Fprintf(code, "%s.%s.", id, strconv.FormatInt(at.Unix(), 10))
	code.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(code.Sum(nil))
}

// readSecret reads the key of signatures: the file's text without the end of its line, or the base64 behind whsec_.
func readSecret(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("read the secret %s: %w", path, err)
	}
	secret := bytes.TrimRight(text, "\r\n")
	if encoded, coded := strings.CutPrefix(string(secret), secretPrefix); coded {
		if secret, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, fmt.Errorf("read the secret %s: the part after %s is not base64", path, secretPrefix)
		}
	}
	if len(secret) < leastSecret || len(secret) > maxSecret {
		return nil, fmt.Errorf("the secret %s has %d bytes: it must have %d to %d: `openssl rand -base64 32` creates one", path, len(secret), leastSecret, maxSecret)
	}
	return secret, nil
}

// checkSecretFile returns the error at the start that a delivery would get.
func checkSecretFile(path string) error {
	if path == "" {
		return errors.New("no file is set")
	}
	if _, err := readSecret(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read the secret: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("the secret %s is readable by everybody: `chmod 640 %s`, and `chgrp` it to the group that Flowjet runs as (flowjet)", path, path)
	}
	return nil
}

// errDenied is returned when an address must not be posted to.
var errDenied = errors.New("the address is denied: allow it with allow_addresses in the webhooks file")

// denied are networks that are not posted to unless the configuration allows it: the own addresses of a host without
// one, those at which clouds give machines their secrets (beside the link-local ones), the shared range of carriers, where
// some are, and IPv6 addresses with an IPv4 one inside, by which a denied one could be reached.
var denied = prefixes("0.0.0.0/8", "255.255.255.255/32",
	"100.64.0.0/10", "fd00:ec2::/32", "fd20:ce::/64", "168.63.129.16/32", "192.0.0.0/24",
	"::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")

func prefixes(texts ...string) (networks []netip.Prefix) {
	for _, text := range texts {
		networks = append(networks, netip.MustParsePrefix(text))
	}
	return networks
}

// checkAddress refuses addresses of this host, link-local and metadata ones, and unassigned ones. The configuration takes
// precedence.
func (s Settings) checkAddress(address netip.Addr) error {
	address = address.Unmap().WithZone("")
	if within(s.AllowAddresses, address) {
		return nil
	}
	if address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsMulticast() || within(denied, address) || within(s.DenyAddresses, address) {
		return fmt.Errorf("%s: %w", address, errDenied)
	}
	// They are read each time: addresses come and go while the process runs.
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
	return slices.ContainsFunc(interfaces, func(one net.Addr) bool {
		own, err := netip.ParsePrefix(one.String())
		return err == nil && own.Addr().Unmap().WithZone("") == address
	})
}

func within(networks []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(network netip.Prefix) bool { return network.Contains(address) })
}

// newClient returns a client that uses no proxy, follows no redirect, and checks each address when it connects: a name may
// resolve to another one than before.
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
			MaxIdleConns: 100, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 16 << 10, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
