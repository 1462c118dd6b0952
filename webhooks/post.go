package webhooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// failure is why an attempt failed.
type failure struct {
	text string
	// after is how long the receiver asked to be left alone.
	after time.Duration
	// final reports whether no repetition will help.
	final bool
}

// target is where a delivery goes now, and what it is signed with.
type target struct {
	url        string
	secretFile string
}

// attempt posts a delivery once. The error is that of this process: it was cut
// off before it had asked.
func (l *lane) attempt(ctx context.Context, delivery pipeline.Delivery, count int) (*failure, error) {
	// The receiver's own bound comes first, then its owner's: who waits behind one that hangs
	// must not take the others' room.
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
	to, failed := settings.targetOf(delivery)
	if failed != nil {
		return failed, nil
	}
	ctx, cancel := context.WithTimeout(ctx, settings.Timeout)
	defer cancel()
	request, err := l.request(ctx, to, delivery, count)
	if err != nil {
		return &failure{text: err.Error()}, nil
	}
	begun := time.Now()
	failed = l.post(request)
	l.metrics.seconds.WithLabelValues(labelOf(delivery)).Observe(time.Since(begun).Seconds())
	return failed, nil
}

// targetOf finds out where a delivery goes by the settings as they are now.
func (s Settings) targetOf(delivery pipeline.Delivery) (target, *failure) {
	if delivery.Receiver != "" {
		receiver, has := s.receiver(delivery.Receiver)
		if !has {
			return target{}, &failure{text: "the configuration no longer has this receiver", final: true}
		}
		return target{receiver.URL, receiver.SecretFile}, nil
	}
	if !s.Services {
		return target{}, &failure{text: "services may not have receivers: `services: true` in the webhooks file allows it", final: true}
	}
	if delivery.Secret == "" {
		return target{url: delivery.URL}, nil
	}
	file, err := s.secretFile(delivery.Secret, delivery.Owner)
	if err != nil {
		return target{}, &failure{text: err.Error()}
	}
	return target{delivery.URL, file}, nil
}

func (l *lane) request(ctx context.Context, to target, delivery pipeline.Delivery, count int) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, bytes.NewReader(delivery.Body))
	if err != nil {
		return nil, errors.New("the URL cannot be posted to")
	}
	now := time.Now()
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Flowjet/"+l.config.Version)
	request.Header.Set(HeaderID, delivery.ID)
	request.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(HeaderAttempt, strconv.Itoa(count))
	if to.secretFile != "" {
		secret, err := readSecret(to.secretFile)
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
	if err != nil {
		return &failure{text: withoutURL(err)}
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

// withoutURL is an error's text without the URL, which may hold what is secret.
func withoutURL(err error) string {
	var failed *url.Error
	if errors.As(err, &failed) {
		if failed.Timeout() {
			return "no answer before the timeout"
		}
		return failed.Err.Error()
	}
	return err.Error()
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
