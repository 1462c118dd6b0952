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
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

type failure struct {
	text string
	// after is how long the receiver asked to be left alone.
	after time.Duration
	// final reports whether no repetition will help.
	final bool
}

// attempt posts a delivery once. The error is that of this process: it was cut off before it had asked.
func (l *lane) attempt(ctx context.Context, delivery pipeline.Delivery, count int) (*failure, error) {
	// The receiver's own bound comes first, then its owner's: who waits behind one that hangs must not take the others' room.
	leave, err := l.toReceiver.acquire(ctx, l.receiver)
	if err != nil {
		return nil, err
	}
	defer leave()
	if delivery.Receiver == "" {
		leave, err := l.forOwner.acquire(ctx, delivery.Owner)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	if err := l.posts.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer l.posts.Release(1)
	settings := l.current()
	address, secretFile, failed := settings.targetOf(delivery)
	if failed != nil {
		return failed, nil
	}
	ctx, cancel := context.WithTimeout(ctx, settings.Timeout)
	defer cancel()
	request, err := l.request(ctx, address, secretFile, delivery, count)
	if err != nil {
		return &failure{text: err.Error()}, nil
	}
	begun := time.Now()
	failed = l.post(request)
	l.metrics.seconds.WithLabelValues(labelOf(delivery)).Observe(time.Since(begun).Seconds())
	return failed, nil
}

// targetOf returns where a delivery goes by the settings as they are now, and the file with what it is signed with; empty for
// nothing.
func (s Settings) targetOf(delivery pipeline.Delivery) (address, secretFile string, failed *failure) {
	if delivery.Receiver != "" {
		for _, receiver := range s.Receivers {
			if receiver.Name == delivery.Receiver {
				return receiver.URL, receiver.SecretFile, nil
			}
		}
		return "", "", &failure{text: "the configuration no longer has this receiver", final: true}
	}
	if !s.Services {
		return "", "", &failure{text: "services may not have receivers: `services: true` in the webhooks file allows it", final: true}
	}
	if delivery.Secret == "" {
		return delivery.URL, "", nil
	}
	for _, secret := range s.Secrets {
		if secret.Name != delivery.Secret {
			continue
		}
		if len(secret.Users) > 0 && !slices.Contains(secret.Users, delivery.Owner) {
			return "", "", &failure{text: fmt.Sprintf("the secret %s is not for services of %s", delivery.Secret, delivery.Owner)}
		}
		return delivery.URL, secret.File, nil
	}
	return "", "", &failure{text: "the configuration has no secret " + delivery.Secret}
}

func (l *lane) request(ctx context.Context, address, secretFile string, delivery pipeline.Delivery, count int) (*http.Request, error) {
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

// maxAnswer is how much of an answer is read, to use the connection again.
const maxAnswer = 4 << 10

func (l *lane) post(request *http.Request) *failure {
	response, err := l.client.Do(request)
	var failed *url.Error
	switch {
	case errors.As(err, &failed) && failed.Timeout():
		return &failure{text: "no answer before the timeout"}
	case failed != nil:
		return &failure{text: failed.Err.Error()} // without the URL, which may hold what is secret
	case err != nil:
		return &failure{text: err.Error()}
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	switch {
	case response.StatusCode >= 200 && response.StatusCode <= 299:
		return nil
	case response.StatusCode >= 300 && response.StatusCode <= 399:
		return &failure{text: response.Status + ": redirects are not followed"}
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return &failure{text: response.Status, after: time.Duration(max(seconds, 0)) * time.Second}
}

// title names a delivery's receiver in messages: by its name, or by its host.
func title(delivery pipeline.Delivery) string {
	if delivery.Receiver != "" {
		return "receiver " + delivery.Receiver
	}
	parsed, err := url.Parse(delivery.URL)
	if err != nil {
		return fmt.Sprintf("a receiver of service %d", delivery.Service)
	}
	return fmt.Sprintf("the receiver at %s of service %d", parsed.Host, delivery.Service)
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

// Sign is the signature of a delivery.
func Sign(secret []byte, id string, at time.Time, body []byte) string {
	code := hmac.New(sha256.New, secret)
	fmt.Fprintf(code, "%s.%s.", id, strconv.FormatInt(at.Unix(), 10))
	code.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(code.Sum(nil))
}

// readSecret reads what to sign with: the file's text without the end of its line, or what is behind whsec_ in base64.
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
