package restapi

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is how the API behaves. The zero value works.
type Config struct {
	// Listen is host:port, default 127.0.0.1:2474, as OneFlow's.
	Listen string
	// CredentialTTL is for how long a user's name and secret count as checked,
	// default 30 s: a changed password or a revoked token works so much longer.
	// Shorter is dear: each check is a call in the user's own session, and the
	// change of session kind costs oned 200 to 320 ms twice.
	CredentialTTL time.Duration
	// ReplyWait is how long a request waits for the worker's answer before it
	// is answered with 202, default 5 s.
	ReplyWait time.Duration
	// CertificateFile and KeyFile turn TLS on; PEM.
	CertificateFile string
	KeyFile         string
	// Version is what /flowjet/v1/version says.
	Version string
	// Metrics is what GET /metrics shows; without it there is no such path.
	Metrics prometheus.Gatherer
	// Registerer takes the API's own metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// NotReady adds reasons why this process is not ready; nil for none.
	NotReady func() []string
	Limits   Limits
	Logger   *slog.Logger
}

// Limits bound what clients can take.
type Limits struct {
	// Body is the largest request body in bytes, default 1 MiB.
	Body int64
	// Requests is how many requests are worked on at once, default 512. More
	// are turned away with 503.
	Requests int
	// Verdicts is how many checked credentials are remembered, default 10,000.
	Verdicts int
}

func (c Config) withDefaults() Config {
	c.Listen = orDefault(c.Listen, "127.0.0.1:2474")
	c.CredentialTTL = orDefault(c.CredentialTTL, 30*time.Second)
	c.ReplyWait = orDefault(c.ReplyWait, 5*time.Second)
	c.Version = orDefault(c.Version, "unknown")
	c.Limits.Body = orDefault(c.Limits.Body, 1<<20)
	c.Limits.Requests = orDefault(c.Limits.Requests, 512)
	c.Limits.Verdicts = orDefault(c.Limits.Verdicts, 10_000)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.NotReady == nil {
		c.NotReady = func() []string { return nil }
	}
	return c
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// tlsConfig reads the certificate, if there is to be TLS.
func (c Config) tlsConfig() (*tls.Config, error) {
	if c.CertificateFile == "" && c.KeyFile == "" {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(c.CertificateFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the API's certificate %q and key %q: %w (both must be PEM files that belong together)", c.CertificateFile, c.KeyFile, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}, nil
}
