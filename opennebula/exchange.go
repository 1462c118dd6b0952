package opennebula

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const (
	maxAnswerSize = 64 << 20
	dialTimeout   = 5 * time.Second
	// A connection that is kept counts among those that oned serves.
	idleTimeout = time.Second
)

// exchange takes a call to the oned that is to have it, and its answer back.
type exchange struct {
	leader    *leader
	slots     *slots
	restarts  *restarts
	warmups   *warmups
	observe   func(method string, took time.Duration)
	pulse     *pulse
	timeout   time.Duration
	limit     int64
	tokens    *serverTokens
	transport *http.Transport
	http      *http.Client
	// probes asks who leads, on connections that are not kept.
	probes *http.Client
	logger *slog.Logger
}

func newHTTPClient(transport *http.Transport) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newTransport ignores the proxy settings of the environment: a session must
// go to oned and nobody else.
func newTransport(connections int) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		Proxy: nil,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: conn}, nil
		},
		MaxConnsPerHost:     connections,
		MaxIdleConns:        connections,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     idleTimeout,
		TLSHandshakeTimeout: dialTimeout,
		DisableCompression:  true,
	}
}

// countedConn counts the bytes written, to know whether a call has left.
type countedConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countedConn) Write(data []byte) (int, error) {
	n, err := c.Conn.Write(data)
	c.written.Add(int64(n))
	return n, err
}

// departure watches one call leave. The transport may take another connection
// when a kept one turns out to be closed, so the latest counts.
type departure struct {
	conn   atomic.Pointer[countedConn]
	before atomic.Int64
	seen   atomic.Bool
	reused atomic.Bool
}

func (d *departure) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		d.seen.Store(true)
		d.reused.Store(info.Reused)
		if conn, counted := info.Conn.(*countedConn); counted {
			d.before.Store(conn.written.Load())
			d.conn.Store(conn)
		}
	}}
}

// sent reports whether the call may have left. After a cancellation the
// connection's writer may still be at work, so a count proves nothing then;
// under TLS there is no countedConn to ask.
func (d *departure) sent(err error) bool {
	if !d.seen.Load() {
		return false
	}
	conn := d.conn.Load()
	if conn == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	return conn.written.Load() > d.before.Load()
}

// tracer is OpenTelemetry's for this package; without a provider it does nothing.
// Spans hold a call's name and outcome, never its arguments.
func tracer() trace.Tracer { return otel.Tracer("github.com/flowjet/flowjet/opennebula") }

// call makes one XML-RPC call for a session and returns oned's answer, which the caller
// releases. Arguments and session are never logged.
func (e *exchange) call(ctx context.Context, s *caller, method string, arguments []any) (*answer, error) {
	started := time.Now()
	ctx, span := tracer().Start(ctx, "oned "+method, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	e.pulse.begin()
	received, err := e.exchange(ctx, s, method, arguments)
	_, refused := asError(err)
	e.pulse.end(err == nil || refused)
	told := withoutTemplate(err)
	if told != nil {
		span.SetStatus(codes.Error, told.Error())
	}
	e.logger.Debug("oned call", "method", method, "took", time.Since(started), "error", told)
	return received, err
}

// exchange makes the call at the leader. Where another oned leads, or none
// does for a moment, it is made again only if it cannot have been carried out or
// changes nothing: whoever asked for the rest has to look first.
func (e *exchange) exchange(ctx context.Context, s *caller, method string, arguments []any) (*answer, error) {
	body, err := encodeCall(method, s.current(), arguments)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	for patience := time.Now().Add(electionPatience); ; {
		endpoint, term := e.leader.endpoint()
		received, err := e.attempt(ctx, s, endpoint, method, body)
		choice := e.leader.hasChoice()
		if err = e.confirmed(ctx, s, method, endpoint, term, err); err != nil && received != nil {
			received.release()
			received = nil
		}
		if !choice || !elsewhere(err) || errors.Is(err, ErrOtherLife) || ctx.Err() != nil {
			return received, err
		}
		if !NotBegun(err) && !reads(method) {
			e.leader.find(ctx) // so that the next call goes where it should
			return nil, err
		}
		waiting, cancel := context.WithDeadline(ctx, patience)
		found := e.leader.await(waiting)
		cancel()
		if !found {
			return nil, err
		}
	}
}

// confirmed is what is to be believed of a read's outcome at a server: where it is to
// be confirmed, or reports that something does not exist, only a server that led the
// zone before and after it counts.
func (e *exchange) confirmed(ctx context.Context, s *caller, method, endpoint string, term int, err error) error {
	decides := s.confirmed && err == nil || IsCode(err, CodeNoExists)
	if !decides || !reads(method) || !e.leader.hasChoice() || e.leader.confirm(ctx, endpoint, term) {
		return err
	}
	return &TransportError{Method: method, Err: ErrUnconfirmed}
}

// attempt makes the call at one oned when there is a slot for it.
func (e *exchange) attempt(ctx context.Context, s *caller, endpoint, method string, body []byte) (received *answer, err error) {
	if s.target != "" {
		warmed := e.warmups.enter(ctx, warmupKey{endpoint, s.target}, e.tokens.currentPeriod())
		defer func() { warmed(accepted(err)) }()
	}
	writes := !reads(method)
	if err := e.slots.acquire(ctx, writes); err != nil {
		return nil, &TransportError{Method: method, Err: fmt.Errorf("wait for other calls: %w", err)}
	}
	defer func() {
		if e.slots.release(writes) {
			e.transport.CloseIdleConnections()
		}
	}()
	started := time.Now()
	defer func() { e.observe(method, time.Since(started)) }()
	if !e.leader.hasChoice() {
		return e.exchangeAt(ctx, e.http, endpoint, method, body)
	}
	return e.watched(ctx, endpoint, method, body)
}

var errMoved = errors.New("the zone has a new leader by now")

// accepted reports whether oned accepted the session of a call that ended with err.
func accepted(err error) bool {
	_, refused := asError(err)
	return err == nil || refused && !IsCode(err, CodeAuthentication)
}

// watched gives a call up when its oned hangs and another leads.
func (e *exchange) watched(ctx context.Context, endpoint, method string, body []byte) (*answer, error) {
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer e.leader.watch(endpoint, func() { cancel(errMoved) })()
	received, err := e.exchangeAt(waiting, e.http, endpoint, method, body)
	var transport *TransportError
	if errors.Is(context.Cause(waiting), errMoved) && errors.As(err, &transport) {
		transport.Err = errMoved
	}
	return received, err
}

// exchangeAt makes the call at one oned.
func (e *exchange) exchangeAt(ctx context.Context, by *http.Client, endpoint, method string, body []byte) (*answer, error) {
	for tries := 1; ; tries++ {
		var leaving departure
		received, sent, err := e.post(ctx, by, endpoint, body, &leaving)
		e.restarts.note(endpoint, err)
		switch {
		case err == nil:
			return received.decoded(method)
		case sent || errors.Is(err, ErrOtherLife) || !leaving.reused.Load() || tries == maxStale || ctx.Err() != nil:
			return nil, &TransportError{Method: method, Sent: sent, Err: err}
		}
		// oned closed a kept connection just when it was taken: nothing has left.
	}
}

// maxStale is how many connections one call may find closed by oned.
const maxStale = 4

// post sends a call and reads the whole answer.
func (e *exchange) post(ctx context.Context, by *http.Client, endpoint string, body []byte, leaving *departure) (received *answer, sent bool, err error) {
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, leaving.trace()),
		http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, false, fmt.Errorf("oned's endpoint is not a valid address: %w", withoutURL(err))
	}
	e.bind(request, body)
	request.Header.Set("Content-Type", "text/xml")
	response, err := by.Do(request)
	if err != nil {
		return nil, leaving.sent(err) && !errors.Is(err, ErrOtherLife), withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, true, fmt.Errorf("oned answered with HTTP status %d", response.StatusCode)
	}
	received, err = e.receive(response)
	return received, true, err
}

// maxForeseen bounds the room that is made for an answer because of what it says of
// its length.
const maxForeseen = 1 << 20

// receive reads an answer, and no more than a byte beyond the limit.
func (e *exchange) receive(response *http.Response) (*answer, error) {
	received := newAnswer()
	received.raw.Grow(int(min(max(0, response.ContentLength), maxForeseen)) + bytes.MinRead)
	_, err := received.raw.ReadFrom(io.LimitReader(response.Body, e.limit+1))
	switch {
	case err != nil:
		err = fmt.Errorf("read the answer: %w", err)
	case int64(received.raw.Len()) > e.limit:
		err = fmt.Errorf("%w (%d MiB): ask for fewer objects", ErrTooLarge, e.limit>>20)
	default:
		return received, nil
	}
	received.release()
	return nil, err
}

// withoutURL leaves out the address that net/http puts before its errors: it
// may hold a password.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// reads reports whether a call changes nothing, so that it can be made again whatever
// became of it.
func reads(method string) bool {
	switch _, action, _ := strings.Cut(strings.TrimPrefix(method, "one."), "."); action {
	case "info", "infoextended", "infoset", "monitoring", "raftstatus", "version":
		return true
	}
	return false
}
