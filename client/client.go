// Package client speaks Flowjet's HTTP API, below /flowjet/v1, as a user of OpenNebula.
//
// A change carries an Idempotency-Key, so it is made once however often it is sent: when the API asks to retry later, or
// the connection breaks, it is sent again with the same key.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	prefix = "/flowjet/v1"
	// callTimeout bounds one attempt of a call, maxAnswer how much of an answer is read.
	callTimeout = 40 * time.Second
	maxAnswer   = 64 << 20
	// attempts is how often a call is made at most, and maxPause the longest pause between that the API may ask for.
	attempts = 4
	maxPause = 10 * time.Second
)

// Client calls one API as one user. It is safe for use by several goroutines.
type Client struct {
	credentials Credentials
	http        *http.Client
}

// New returns a client that calls the API at credentials.Endpoint.
func New(credentials Credentials) (*Client, error) {
	at, err := url.Parse(credentials.Endpoint)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, fmt.Errorf("%q is not the address of an API: it must look like http://127.0.0.1:2474", credentials.Endpoint)
	}
	credentials.Endpoint = strings.TrimSuffix(credentials.Endpoint, "/")
	return &Client{credentials, &http.Client{}}, nil
}

// Endpoint returns the API's address.
func (c *Client) Endpoint() string { return c.credentials.Endpoint }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Request is a call. Body is sent as JSON; nil is none.
type Request struct {
	Method, Path string
	Query        url.Values
	Body         any
	// Key is the Idempotency-Key of a change, a random one if empty.
	Key string
	// IfMatch is the ETag that the changed object must still have; empty for any.
	IfMatch string
}

// Answer is the API's answer to a call that it did not refuse.
type Answer struct {
	Status               int
	Body                 []byte
	ETag, Location, Warn string
	// Replayed reports whether the change was made before, by a request with the same key.
	Replayed bool
}

// Error is returned when the API has refused a call.
type Error struct {
	Status int // 502 if what answered is not a Flowjet API
	Detail string
	// User is the caller, if the credentials were refused.
	User string
}

// Error is the API's own sentence.
func (e *Error) Error() string {
	if e.Status == http.StatusUnauthorized {
		return fmt.Sprintf("the API does not accept the credentials of user %q: %s", e.User, e.Detail)
	}
	return e.Detail
}

// UnreachableError is returned when the API could not be reached.
type UnreachableError struct {
	Endpoint string
	Err      error
}

// Error includes the address, which may be the wrong one.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the API at %s does not answer (%v): set another with --endpoint or ONEFLOW_URL", e.Endpoint, e.Err)
}

// Unwrap returns the reason.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Do makes a call, and retries it where that is safe and can help.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	if r.Method != http.MethodGet && r.Key == "" {
		r.Key = rand.Text()
	}
	if strings.ContainsFunc(r.Key+r.IfMatch, unicode.IsControl) {
		return Answer{}, &Error{Status: http.StatusBadRequest, Detail: "the Idempotency-Key and the ETag must not contain control characters"}
	}
	var text []byte
	if r.Body != nil {
		var err error
		if text, err = json.Marshal(r.Body); err != nil {
			return Answer{}, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
		}
	}
	for attempt := 1; ; attempt++ {
		answer, pause, err := c.attempt(ctx, r, text)
		if err == nil || pause < 0 || attempt == attempts || idle.For(ctx, pause) != nil {
			return answer, err
		}
	}
}

// attempt makes a call once. The pause is the time before a retry, negative for none.
func (c *Client) attempt(ctx context.Context, r Request, text []byte) (answer Answer, pause time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.send(ctx, r, text)
	if err != nil {
		pause = time.Second
		if dial, is := errors.AsType[*net.OpError](err); ctx.Err() != nil || is && dial.Op == "dial" {
			pause = -1
		}
		return answer, pause, unreachable(c.Endpoint(), err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer, time.Second, unreachable(c.Endpoint(), err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return answer, pauseOf(response), c.refusal(response.StatusCode, body)
	}
	header := response.Header
	_, warning, _ := strings.Cut(header.Get("Warning"), " flowjet ")
	if plain, err := strconv.Unquote(warning); err == nil {
		warning = plain
	}
	return Answer{
		Status: response.StatusCode, Body: body, ETag: header.Get("ETag"), Location: header.Get("Location"), Warn: warning,
		Replayed: header.Get("Idempotent-Replayed") == "true",
	}, -1, nil
}

func (c *Client) send(ctx context.Context, r Request, text []byte) (*http.Response, error) {
	address := c.Endpoint() + prefix + r.Path
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, address, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Cache-Control", "no-cache") // a caller who has just made a service wants to find it
	request.SetBasicAuth(c.credentials.User, c.credentials.Password)
	for name, value := range map[string]string{"Idempotency-Key": r.Key, "If-Match": r.IfMatch} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	return c.http.Do(request)
}

func unreachable(endpoint string, err error) error {
	if inner, is := errors.AsType[*url.Error](err); is {
		err = inner.Err // without the address, which may be long
	}
	return &UnreachableError{endpoint, err}
}

// pauseOf returns the pause that the API asks for, negative if a retry cannot help.
func pauseOf(response *http.Response) time.Duration {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	pause := time.Duration(seconds) * time.Second
	if err != nil || pause > maxPause {
		return -1
	}
	return pause
}

func (c *Client) refusal(status int, body []byte) error {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &problem) != nil || problem.Detail == "" {
		problem.Detail = fmt.Sprintf("the server at %s is not a Flowjet API: it answers with status %d", c.Endpoint(), status)
		status = http.StatusBadGateway // its 404 does not mean that a service is gone
	}
	return &Error{Status: status, Detail: strings.TrimSpace(problem.Detail), User: c.credentials.User}
}

// read makes a GET and decodes the answer.
func (c *Client) read(ctx context.Context, path string, query url.Values, into any) (Answer, error) {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path, Query: query})
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(answer.Body, into); err != nil {
		return answer, fmt.Errorf("the server at %s is not a Flowjet API: GET %s: %w", c.Endpoint(), path, err)
	}
	return answer, nil
}
