package restapi

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateLook is how often the files are looked at, at most.
const certificateLook = time.Second

// certificate is the API's, read again when its files change. While what is
// there cannot be used, the one before stays.
type certificate struct {
	certificateFile, keyFile string
	logger                   *slog.Logger
	now                      func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	version string
	looked  time.Time
}

func readCertificate(certificateFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certificateFile: certificateFile, keyFile: keyFile, logger: logger, now: time.Now}
	c.looked, c.version = c.now(), c.onDisk()
	loaded, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the API's certificate %q and key %q: %w (both must be PEM files that belong together)", certificateFile, keyFile, err)
	}
	c.current = &loaded
	return c, nil
}

// get is tls.Config's GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= certificateLook {
		c.looked = now
		c.reload()
	}
	return c.current, nil
}

func (c *certificate) reload() {
	version := c.onDisk()
	if version == c.version {
		return
	}
	c.version = version
	loaded, err := tls.LoadX509KeyPair(c.certificateFile, c.keyFile)
	if err != nil {
		c.logger.Error("the API's new certificate cannot be used and the one before stays", "certificate", c.certificateFile, "key", c.keyFile, "error", err)
		return
	}
	c.current = &loaded
	c.logger.Info("the API's certificate was read anew", "certificate", c.certificateFile)
}

// onDisk tells versions of the two files apart.
func (c *certificate) onDisk() string {
	version := ""
	for _, path := range []string{c.certificateFile, c.keyFile} {
		if info, err := os.Stat(path); err == nil {
			version += fmt.Sprintf("%d %d;", info.Size(), info.ModTime().UnixNano())
		}
	}
	return version
}
