package opennebula

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	maxAnswerSize = 64 << 20
	dialTimeout   = 5 * time.Second
	// followerLag is how far a follower's database is behind at most, but after its restart.
	followerLag = 2 * time.Second
	// An idle connection counts among those that oned serves.
	idleTimeout = time.Second
)

// exchange sends a call to the right oned, and returns its answer.
type exchange struct {
	leader   *leader
	slots    *slots
	restarts *restarts
	warmups  *warmups
	observe  func(method string, took time.Duration)
	pulse    *pulse
	// acceptance is whether the zone accepts the server user.
	acceptance *acceptance
	timeout    time.Duration
	limit      int64
	tokens     *serverTokens
	transport  *http.Transport
	http       *http.Client
	// probes asks single oneds, on connections that are not kept.
	probes *http.Client
	logger *slog.Logger
}

// newTransport ignores the proxy settings of the environment: a session must
// go to oned only.
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

// departure tracks whether one call has left. The transport may use another connection
// when a kept one turns out to be closed, so the latest counts.
type departure struct {
	conn      atomic.Pointer[countedConn]
	before    atomic.Int64
	connected atomic.Bool
	reused    atomic.Bool
}

// sent reports whether the call may have left. After a cancellation the
// connection's writer may still be at work, so a count proves nothing then;
// under TLS there is no countedConn to ask.
func (d *departure) sent(err error) bool {
	if !d.connected.Load() {
		return false
	}
	conn := d.conn.Load()
	if conn == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	return conn.written.Load() > d.before.Load()
}

// call makes one XML-RPC call for a session and returns the value in oned's answer (see decodeAnswer). Logs and spans have a call's name and outcome, never its arguments or session.
func (e *exchange) call(ctx context.Context, s *caller, method string, arguments []any) (any, error) {
	// All numbers from outside are ids, written into a document or a template by its owner. oned's library cannot read a call with a
	// number that XML-RPC cannot carry, and repeating it would never help.
	for _, argument := range arguments {
		if id, isNumber := argument.(int); isNumber && int(int32(id)) != id {
			return nil, &Error{Method: method, Code: CodeNoExists, Message: fmt.Sprintf("no object can have the id %d", id)}
		}
	}
	if s.endpoint != "" {
		return e.send(ctx, s, method, arguments)
	}
	started := time.Now()
	ctx, span := otel.Tracer("github.com/flowjet/flowjet/opennebula").Start(ctx, "oned "+method, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	guarded := s.target != ""
	if guarded {
		if err := e.admit(ctx); err != nil {
			return nil, err
		}
	}
	e.pulse.begin()
	value, err := e.send(ctx, s, method, arguments)
	refusal, refused := errors.AsType[*Error](err)
	e.pulse.end(err == nil || refused)
	if guarded && !s.guess && IsCode(err, CodeAuthentication) {
		err = e.blame(ctx, s, method, err)
	}
	logged := err
	if refused && takesTemplate.MatchString(method) {
		// oned's message about a template repeats parts of it, which may be secrets. Only
		// the caller gets all of it.
		logged = &Error{Method: method, Code: refusal.Code}
	}
	if logged != nil {
		span.SetStatus(codes.Error, logged.Error())
	}
	e.logger.Debug("oned call", "method", method, "took", time.Since(started), "error", logged)
	return value, err
}

// send makes the call, and repeats it if oned has refused a session that is outdated.
func (e *exchange) send(ctx context.Context, s *caller, method string, arguments []any) (any, error) {
	session := s.current()
	value, err := e.exchange(ctx, session, s, method, arguments)
	if renewed := s.current(); IsCode(err, CodeAuthentication) && renewed != session { // the answer has shown that oned has another time
		value, err = e.exchange(ctx, renewed, s, method, arguments)
	}
	return value, err
}

// exchange makes the call at the leader. If another oned leads, or none
// does for a moment, it is repeated only if it cannot have been carried out or
// changes nothing: for any other the caller has to check first.
func (e *exchange) exchange(ctx context.Context, session string, s *caller, method string, arguments []any) (any, error) {
	body, err := encodeCall(method, session, arguments)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	if s.endpoint != "" {
		return e.attempt(ctx, s, s.endpoint, method, body)
	}
	for patience := time.Now().Add(electionPatience); ; {
		endpoint, term := e.leader.endpoint()
		value, err := e.attempt(ctx, s, endpoint, method, body)
		if !e.leader.hasChoice() {
			return value, err
		}
		// If a read is to be confirmed, or finds that something does not exist, only a
		// server that led the zone before and after it is believed.
		decides, other, lacking := reads(method) && (s.confirmed && err == nil || IsCode(err, CodeNoExists)), "", 0
		if s.confirmed && decides && err != nil {
			other, lacking = e.elsewhere(ctx, s, endpoint, term, method, arguments)
		}
		switch {
		case decides && !e.leader.confirm(ctx, endpoint, term, lacking):
			value, err = nil, &TransportError{Method: method, Err: ErrUnconfirmed}
		case other != "":
			return nil, fmt.Errorf("%w: %s leads and answers %q, %s has the object", ErrDisagree, endpoint, err.Error(), other)
		}
		_, refused := errors.AsType[*Error](err)
		knownElsewhere := err != nil && !refused || IsCode(err, CodeReplication) || NotBegun(err)
		if !knownElsewhere || errors.Is(err, ErrOtherLife) || ctx.Err() != nil {
			return value, err
		}
		if !NotBegun(err) && !reads(method) {
			e.leader.find(ctx) // so that the next call goes to the leader
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

// elsewhere asks the followers for what the zone's leader lacks, and returns one that has it and loses it not within followerLag; without
// one, how many lack it, with the leader: a follower that does not answer may have it. Raft does not notice that: oned's
// servers can have lost writes in the middle of their logs, and lead.
func (e *exchange) elsewhere(ctx context.Context, s *caller, leader string, term int, method string, arguments []any) (holder string, lacking int) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	followers := slices.DeleteFunc(e.leader.servers.all(), func(server string) bool { return server == leader })
	answers := make([]error, len(followers))
	var asking sync.WaitGroup
	for i, server := range followers {
		asking.Go(func() { answers[i] = e.askFollower(ctx, s, server, term, method, arguments) })
	}
	asking.Wait()
	lacking = 1
	for i, err := range answers {
		if err == nil {
			return followers[i], 0
		}
		if IsCode(err, CodeNoExists) {
			lacking++
		}
	}
	return "", lacking
}

// askFollower makes a read at a follower of the term until it fails or followerLag has passed.
func (e *exchange) askFollower(ctx context.Context, s *caller, server string, term int, method string, arguments []any) error {
	status, err := e.raftStatus(ctx, server)
	if err != nil || status.State != RaftFollower || status.Term != term {
		return cmp.Or(err, errMoved) // it has no part in the zone now
	}
	there := *s
	there.endpoint = server
	for began := time.Now(); ; {
		if _, err = e.send(ctx, &there, method, arguments); err != nil || time.Since(began) > followerLag || idle.For(ctx, firstPause) != nil {
			return err
		}
	}
}

var errMoved = errors.New("the zone has a new leader by now")

// attempt makes the call at one oned when there is a slot for it, and abandons it if that
// oned hangs and another leads.
func (e *exchange) attempt(ctx context.Context, s *caller, endpoint, method string, body []byte) (value any, err error) {
	if s.target != "" {
		warmed := e.warmups.enter(ctx, warmupKey{endpoint, s.target}, e.tokens.currentPeriod())
		defer func() {
			_, refused := errors.AsType[*Error](err)
			warmed(err == nil || refused && !IsCode(err, CodeAuthentication))
		}()
	}
	if s.endpoint != "" {
		return e.exchangeAt(ctx, e.probes, endpoint, method, body)
	}
	writes := !reads(method)
	if err := e.slots.acquire(ctx, s.target, writes); err != nil {
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
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slow := time.AfterFunc(slowCall, func() {
		if e.leader.awaitMove(waiting, endpoint) {
			cancel(errMoved)
		}
	})
	defer slow.Stop()
	value, err = e.exchangeAt(waiting, e.http, endpoint, method, body)
	if transport, lost := errors.AsType[*TransportError](err); lost && errors.Is(context.Cause(waiting), errMoved) {
		transport.Err = errMoved
	}
	return value, err
}

func (e *exchange) exchangeAt(ctx context.Context, by *http.Client, endpoint, method string, body []byte) (any, error) {
	for tries := 1; ; tries++ {
		var leaving departure
		answer, date, sent, err := e.post(ctx, by, endpoint, body, &leaving)
		e.restarts.note(endpoint, err)
		switch {
		case err == nil:
			value, err := decodeAnswer(method, answer)
			if by == e.http || IsCode(err, CodeAuthentication) { // a server that is only asked who leads matters if it refuses
				if behind, changed := e.tokens.followClock(date); changed {
					e.logger.Warn("this host's clock and oned's were or are far apart; login tokens follow oned's clock", "oned", endpoint,
						"behind_oned", behind.Round(time.Second))
				}
			}
			return value, err
		case sent || errors.Is(err, ErrOtherLife) || !leaving.reused.Load() || tries == maxStale || ctx.Err() != nil:
			return nil, &TransportError{Method: method, Sent: sent, Err: err}
		}
		// oned closed a kept connection just when it was reused: nothing has left.
	}
}

// maxStale is how many connections one call may find closed by oned.
const maxStale = 4

// maxForeseen bounds the memory that is allocated for an answer because of its
// Content-Length.
const maxForeseen = 1 << 20

// post sends a call and reads the answer, no more than a byte beyond the limit, and its Date.
func (e *exchange) post(ctx context.Context, by *http.Client, endpoint string, body []byte, leaving *departure) (answer []byte, date string, sent bool, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		leaving.connected.Store(true)
		leaving.reused.Store(info.Reused)
		if conn, counted := info.Conn.(*countedConn); counted {
			leaving.before.Store(conn.written.Load())
			leaving.conn.Store(conn)
		}
	}})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, "", false, fmt.Errorf("oned's endpoint is not a valid address: %w", withoutURL(err))
	}
	e.bind(request, body)
	request.Header.Set("Content-Type", "text/xml")
	response, err := by.Do(request)
	if err != nil {
		return nil, "", leaving.sent(err) && !errors.Is(err, ErrOtherLife), withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, "", true, fmt.Errorf("oned answered with HTTP status %d", response.StatusCode)
	}
	var raw bytes.Buffer
	raw.Grow(int(min(max(0, response.ContentLength), maxForeseen)) + bytes.MinRead)
	_, err = raw.ReadFrom(io.LimitReader(response.Body, e.limit+1))
	switch {
	case err != nil:
		err = fmt.Errorf("read the answer: %w", err)
	case int64(raw.Len()) > e.limit:
		err = fmt.Errorf("%w (%d MiB): ask for fewer objects", ErrTooLarge, e.limit>>20)
	}
	return raw.Bytes(), response.Header.Get("Date"), true, err
}

// withoutURL removes the address that net/http puts before its errors: it
// may hold a password.
func withoutURL(err error) error {
	if wrapped, is := errors.AsType[*url.Error](err); is {
		return wrapped.Err
	}
	return err
}

// reads reports whether a call changes nothing, so that it can be repeated whatever
// its outcome.
func reads(method string) bool {
	switch _, action, _ := strings.Cut(strings.TrimPrefix(method, "one."), "."); action {
	case "info", "infoextended", "infoset", "monitoring", "raftstatus", "version":
		return true
	}
	return false
}
