// Package certificate keeps a server's certificate up to date with its files.
package certificate

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

const reloadEvery = time.Second

// Certificate is the API's, read again when its files change. While the files cannot be used, the previous one stays.
type Certificate struct {
	certificateFile, keyFile string
	logger                   *slog.Logger
	now                      func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	version string
	checked time.Time
}

// Read reads a certificate and its key, PEM files.
func Read(certificateFile, keyFile string, logger *slog.Logger) (*Certificate, error) {
	c := &Certificate{certificateFile: certificateFile, keyFile: keyFile, logger: logger, now: time.Now}
	c.checked, c.version = c.now(), c.onDisk()
	loaded, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the API's certificate %q and key %q: %w (both must be PEM files, and the key must match the certificate)", certificateFile, keyFile, err)
	}
	c.current = &loaded
	return c, nil
}

// Get is tls.Config's GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.checked) < reloadEvery {
		return c.current, nil
	}
	c.checked = now
	version := c.onDisk()
	if version == c.version {
		return c.current, nil
	}
	c.version = version
	loaded, err := tls.LoadX509KeyPair(c.certificateFile, c.keyFile)
	if err == nil {
		c.current = &loaded
		c.logger.Info("the API's certificate was reloaded", "certificate", c.certificateFile)
	} else {
		c.logger.Error("the API's new certificate cannot be used; the previous one stays in use", "certificate", c.certificateFile, "key", c.keyFile, "error", err)
	}
	return c.current, nil
}

func (c *Certificate) onDisk() string {
	version := ""
	for _, path := range []string{c.certificateFile, c.keyFile} {
		if info, err := os.Stat(path); err == nil {
			version += fmt.Sprintf("%d %d;", info.Size(), info.ModTime().UnixNano())
		}
	}
	return version
}
