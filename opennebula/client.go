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

// Config says where oned is and how to speak to it.
type Config struct {
	// Endpoint is oned's XML-RPC address, http://127.0.0.1:2633/RPC2.
	Endpoint string
	// Others are those of the zone's other oneds. With any, calls go to the one
	// that leads; without, see Follow.
	Others      []string
	Credentials Credentials
	// Timeout bounds each call; 60 s unless given. An instantiate can wait
	// seconds behind others.
	Timeout time.Duration
	// MaxConnections bounds the connections to each oned; 8 unless given. oned serves
	// 15 at a time, for everybody and for the other servers of its zone.
	MaxConnections int
	// Observe receives each call's method and how long oned took; nil for nobody.
	Observe func(method string, took time.Duration)
	Logger  *slog.Logger
}

const (
	maxAnswerSize = 64 << 20
	dialTimeout   = 5 * time.Second
	// A connection that is kept counts among those that oned serves.
	idleTimeout = time.Second
)

// Client is a connection pool to the oneds of a zone. Every call, also one that
// only reads, goes to the one that leads.
type Client struct {
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

// NewClient makes a client. It connects when the first call is made.
func NewClient(config Config) *Client {
	if config.Timeout <= 0 {
		config.Timeout = time.Minute
	}
	if config.MaxConnections <= 0 {
		config.MaxConnections = 8
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Observe == nil {
		config.Observe = func(string, time.Duration) {}
	}
	client := &Client{
		pulse:     &pulse{},
		restarts:  &restarts{},
		warmups:   newWarmups(),
		slots:     newSlots(config.MaxConnections),
		observe:   config.Observe,
		timeout:   config.Timeout,
		limit:     maxAnswerSize,
		tokens:    newServerTokens(config.Credentials, time.Now),
		transport: newTransport(config.MaxConnections),
		logger:    config.Logger,
	}
	client.http = newHTTPClient(client.transport)
	single := newTransport(config.MaxConnections)
	single.DisableKeepAlives = true
	client.probes = newHTTPClient(single)
	client.leader = newLeader(client, append([]string{config.Endpoint}, config.Others...), config.Logger)
	return client
}

// Follow has calls go to whichever oned of the zone leads it, as the zone itself
// lists them (one.zone.info); with Config.Others, as they do. It asks once and
// returns; who leads is asked again by itself.
func (c *Client) Follow(ctx context.Context, zone int) { c.leader.follow(ctx, zone) }

// Leadership returns the term of the zone's leader and since when that leader is known
// here; 0 while none was found. The first one may have led for any time, and since is
// zero. A oned that has no others begins a new term when it was down and came back.
func (c *Client) Leadership() (term int, since time.Time) {
	if !c.leader.hasChoice() {
		return c.restarts.term()
	}
	return c.leader.leadership()
}

// Life is a number that changes when whoever answers may have another database than before:
// oned was away, or another server leads the zone.
func (c *Client) Life() int {
	if !c.leader.hasChoice() {
		return c.restarts.life()
	}
	term, _ := c.leader.leadership()
	return term
}

// Endpoint is the XML-RPC address that the next call goes to.
func (c *Client) Endpoint() string {
	endpoint, _ := c.leader.endpoint()
	return endpoint
}

// Servers returns the XML-RPC addresses of the zone's servers as the zone lists them,
// as far as that is known.
func (c *Client) Servers() []string { return c.leader.servers.public() }

// Introduce adds servers that the zone is known to have: where the one configured is
// down, another can be asked. With Config.Others it does nothing.
func (c *Client) Introduce(servers []string) { c.leader.servers.add(servers...) }

// SetConnections sets how many connections to each oned may be used, at most
// Config.MaxConnections; with 0 calls wait. Those that are too many are given back at once.
func (c *Client) SetConnections(most int) {
	if c.slots.resize(min(most, c.transport.MaxConnsPerHost)) {
		c.transport.CloseIdleConnections()
	}
}

// Busy reports whether calls are under way or wait.
func (c *Client) Busy() bool { return c.slots.busy() }

// Ping reports whether the oned that is called answers, past the calls that wait.
func (c *Client) Ping(ctx context.Context) bool {
	endpoint, _ := c.leader.endpoint()
	_, err := c.raftStatus(ctx, endpoint)
	_, refused := asError(err)
	return err == nil || refused
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

// ErrOtherUser is returned when credentials are another server user's: every session in
// use is the first one's.
var ErrOtherUser = errors.New("the server user has another name: that takes a restart")

// Renew takes over a changed password of the server user for every call from now
// on, those of sessions in use too, and reports whether it had changed.
func (c *Client) Renew(credentials Credentials) (changed bool, err error) {
	if credentials.User != c.tokens.user {
		return false, ErrOtherUser
	}
	return c.tokens.renew(credentials.Password), nil
}

// Close lets go of the connections that are not in use.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

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
func (c *Client) call(ctx context.Context, s *Session, method string, arguments []any) (*answer, error) {
	started := time.Now()
	ctx, span := tracer().Start(ctx, "oned "+method, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	c.pulse.begin()
	received, err := c.exchange(ctx, s, method, arguments)
	_, refused := asError(err)
	c.pulse.end(err == nil || refused)
	c.restarts.note(err)
	told := withoutTemplate(err)
	if told != nil {
		span.SetStatus(codes.Error, told.Error())
	}
	c.logger.Debug("oned call", "method", method, "took", time.Since(started), "error", told)
	return received, err
}

// exchange makes the call at the leader. Where another oned leads, or none
// does for a moment, it is made again only if it cannot have been carried out or
// changes nothing: whoever asked for the rest has to look first.
func (c *Client) exchange(ctx context.Context, s *Session, method string, arguments []any) (*answer, error) {
	body, err := encodeCall(method, s.current(), arguments)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for patience := time.Now().Add(electionPatience); ; {
		endpoint, term := c.leader.endpoint()
		received, err := c.attempt(ctx, s, endpoint, method, body)
		choice := c.leader.hasChoice()
		if err = c.confirmed(ctx, s, method, endpoint, term, err); err != nil && received != nil {
			received.release()
			received = nil
		}
		if !choice || !elsewhere(err) || ctx.Err() != nil {
			return received, err
		}
		if !NotBegun(err) && !reads(method) {
			c.leader.find(ctx) // so that the next call goes where it should
			return nil, err
		}
		waiting, cancel := context.WithDeadline(ctx, patience)
		found := c.leader.await(waiting)
		cancel()
		if !found {
			return nil, err
		}
	}
}

// confirmed is what is to be believed of a read's outcome at a server: where it is to
// be confirmed, or reports that something does not exist, only a server that led the
// zone before and after it counts.
func (c *Client) confirmed(ctx context.Context, s *Session, method, endpoint string, term int, err error) error {
	decides := s.confirmed && err == nil || IsCode(err, CodeNoExists)
	if !decides || !reads(method) || !c.leader.hasChoice() || c.leader.confirm(ctx, endpoint, term) {
		return err
	}
	return &TransportError{Method: method, Err: ErrUnconfirmed}
}

// attempt makes the call at one oned when there is a slot for it.
func (c *Client) attempt(ctx context.Context, s *Session, endpoint, method string, body []byte) (received *answer, err error) {
	if s.target != "" {
		warmed := c.warmups.enter(ctx, warmupKey{endpoint, s.target}, c.tokens.currentPeriod())
		defer func() { warmed(accepted(err)) }()
	}
	writes := !reads(method)
	if err := c.slots.acquire(ctx, writes); err != nil {
		return nil, &TransportError{Method: method, Err: fmt.Errorf("wait for other calls: %w", err)}
	}
	defer func() {
		if c.slots.release(writes) {
			c.transport.CloseIdleConnections()
		}
	}()
	started := time.Now()
	defer func() { c.observe(method, time.Since(started)) }()
	if !c.leader.hasChoice() {
		return c.exchangeAt(ctx, c.http, endpoint, method, body)
	}
	return c.watched(ctx, endpoint, method, body)
}

var errMoved = errors.New("another oned leads the zone by now")

// accepted reports whether oned accepted the session of a call that ended with err.
func accepted(err error) bool {
	_, refused := asError(err)
	return err == nil || refused && !IsCode(err, CodeAuthentication)
}

// watched gives a call up when its oned hangs and another leads.
func (c *Client) watched(ctx context.Context, endpoint, method string, body []byte) (*answer, error) {
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer c.leader.watch(endpoint, func() { cancel(errMoved) })()
	received, err := c.exchangeAt(waiting, c.http, endpoint, method, body)
	var transport *TransportError
	if errors.Is(context.Cause(waiting), errMoved) && errors.As(err, &transport) {
		transport.Err = errMoved
	}
	return received, err
}

// exchangeAt makes the call at one oned.
func (c *Client) exchangeAt(ctx context.Context, by *http.Client, endpoint, method string, body []byte) (*answer, error) {
	for tries := 1; ; tries++ {
		var leaving departure
		received, sent, err := c.post(ctx, by, endpoint, body, &leaving)
		switch {
		case err == nil:
			return received.decoded(method)
		case sent || !leaving.reused.Load() || tries == maxStale || ctx.Err() != nil:
			return nil, &TransportError{Method: method, Sent: sent, Err: err}
		}
		// oned closed a kept connection just when it was taken: nothing has left.
	}
}

// maxStale is how many connections one call may find closed by oned.
const maxStale = 4

// post sends a call and reads the whole answer.
func (c *Client) post(ctx context.Context, by *http.Client, endpoint string, body []byte, leaving *departure) (received *answer, sent bool, err error) {
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, leaving.trace()),
		http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, false, fmt.Errorf("oned's endpoint is not a valid address: %w", withoutURL(err))
	}
	request.Header.Set("Content-Type", "text/xml")
	response, err := by.Do(request)
	if err != nil {
		return nil, leaving.sent(err), withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, true, fmt.Errorf("oned answered with HTTP status %d", response.StatusCode)
	}
	received, err = c.receive(response)
	return received, true, err
}

// maxForeseen bounds the room that is made for an answer because of what it says of
// its length.
const maxForeseen = 1 << 20

// receive reads an answer, and no more than a byte beyond the limit.
func (c *Client) receive(response *http.Response) (*answer, error) {
	received := newAnswer()
	received.raw.Grow(int(min(max(0, response.ContentLength), maxForeseen)) + bytes.MinRead)
	_, err := received.raw.ReadFrom(io.LimitReader(response.Body, c.limit+1))
	switch {
	case err != nil:
		err = fmt.Errorf("read the answer: %w", err)
	case int64(received.raw.Len()) > c.limit:
		err = fmt.Errorf("%w (%d MiB): ask for fewer objects", ErrTooLarge, c.limit>>20)
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
