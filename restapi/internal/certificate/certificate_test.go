package certificate

import (
	"crypto/tls"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/testcert"
)

func TestACertificateIsReadAnew(t *testing.T) {
	certificateFile, keyFile, _ := testcert.SelfSigned(t)
	read, err := Read(certificateFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	read.now = func() time.Time { return now }
	current := func() *tls.Certificate {
		now = now.Add(reloadEvery)
		c, err := read.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := current()
	if current() != first {
		t.Error("it was read although nothing changed")
	}
	write := func(path, content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(certificateFile, "half a certificate")
	if current() != first {
		t.Error("a broken certificate was taken")
	}
	newCertificate, newKey, _ := testcert.SelfSigned(t)
	for from, to := range map[string]string{newCertificate: certificateFile, newKey: keyFile} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(to, string(text)+"\n")
	}
	if current() == first {
		t.Error("the new certificate was not taken")
	}
}
