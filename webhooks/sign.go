package webhooks

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// The headers of a delivery are those of Standard Webhooks
// (https://www.standardwebhooks.com), for which there are libraries in most
// languages.
const (
	// HeaderID is the transition's id: the same at every attempt.
	HeaderID = "Webhook-Id"
	// HeaderTimestamp is when the attempt was made, in unix seconds.
	HeaderTimestamp = "Webhook-Timestamp"
	// HeaderSignature is "v1," and the base64 of HMAC-SHA256 over id, timestamp
	// and body, with dots between.
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

// Sign is the signature of a delivery.
func Sign(secret []byte, id string, at time.Time, body []byte) string {
	code := hmac.New(sha256.New, secret)
	fmt.Fprintf(code, "%s.%s.", id, strconv.FormatInt(at.Unix(), 10))
	code.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(code.Sum(nil))
}

// readSecret reads what to sign with: the file's text without the end of its
// line, or what is behind whsec_ in base64.
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

// checkSecretFile finds at the start what would fail at a delivery.
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
		return fmt.Errorf("the secret %s is readable by everybody: `chmod 640 %s`", path, path)
	}
	return nil
}
