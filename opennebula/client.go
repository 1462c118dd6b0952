// Package opennebula is a client of oned, OpenNebula's daemon: its XML-RPC calls,
// its sessions, and its hook events.
//
// Safety: a call that may have been carried out is not repeated; an error shows
// whether oned refused it, certainly did not receive it, or may have carried it out.
// No session, password or token appears in an error or a log line, and every
// answer and event has a largest size. Liveness: every call ends at its
// context's end or the client's timeout, whichever is first. In a zone of
// several oneds, calls go to the leader, and are repeated there if
// they have certainly not been carried out or change nothing.
//
// The path of a call:
//
//	Session       makes calls as one user, by kind of object
//	encodeCall    writes the call
//	exchange      sends it to the leader, and returns its answer
//	  acceptance  fails it while oned refuses the server user
//	  slots       bounds the concurrent calls
//	  warmups     lets one call of a new session go ahead
//	  leader      finds which oned leads, and confirms it
//	  pulse, Life whether oned answers, and was it down
//	answer        decodes the answer
//	onexml        reads all XML
package opennebula

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Config sets where oned is and how to call it.
type Config struct {
	// Endpoint is oned's XML-RPC address, http://127.0.0.1:2633/RPC2.
	Endpoint string
	// Others are those of the zone's other oneds. With any, calls go to the
	// leader among them; without, see Follow.
	Others      []string
	Credentials Credentials
	// Timeout bounds each call; 60 s unless given. An instantiate can wait
	// seconds behind others.
	Timeout time.Duration
	// MaxConnections bounds the connections to each oned; 8 unless given. oned serves
	// 15 at a time, for all clients and for the other servers of its zone.
	MaxConnections int
	// Observe receives each call's method and how long oned took; nil for none.
	Observe func(method string, took time.Duration)
	Logger  *slog.Logger
}

// Client is a connection pool to the oneds of a zone. Every call, even a
// read, goes to the leader.
type Client struct{ *exchange }

// NewClient makes a client. It connects when the first call is made.
func NewClient(config Config) *Client {
	config.Timeout = cmp.Or(max(config.Timeout, 0), time.Minute)
	config.MaxConnections = cmp.Or(max(config.MaxConnections, 0), 8)
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	if config.Observe == nil {
		config.Observe = func(string, time.Duration) {}
	}
	e := &exchange{
		pulse:      &pulse{},
		acceptance: &acceptance{logger: config.Logger},
		restarts:   &restarts{},
		warmups:    &warmups{spread: warmupSpread, known: map[warmupKey]*warmup{}},
		slots:      newSlots(config.MaxConnections),
		observe:    config.Observe,
		timeout:    config.Timeout,
		limit:      maxAnswerSize,
		tokens:     newServerTokens(config.Credentials, time.Now),
		transport:  newTransport(config.MaxConnections),
		logger:     config.Logger,
	}
	single := newTransport(config.MaxConnections)
	single.DisableKeepAlives = true
	asIs := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	e.http = &http.Client{Transport: e.transport, CheckRedirect: asIs}
	e.probes = &http.Client{Transport: single, CheckRedirect: asIs}
	e.leader = newLeader(e, append([]string{config.Endpoint}, config.Others...), config.Logger)
	return &Client{e}
}

// Follow sends calls to whichever oned of the zone leads, as the zone itself
// lists them (one.zone.info); with Config.Others, as those do. It asks once and
// returns; after that the client finds a new leader by itself.
func (c *Client) Follow(ctx context.Context, zone int) {
	l := c.leader
	l.mutex.Lock()
	l.follows = true
	l.mutex.Unlock()
	l.servers.mutex.Lock()
	l.servers.zone, l.servers.refreshed = zone, time.Time{}
	l.servers.mutex.Unlock()
	l.find(ctx)
}

// Leadership returns the term of the zone's leader and since when that leader is known
// here; 0 while none was found. The first one may have led for any time, and since is
// zero. A oned without others begins a new term when it was down and came back.
func (c *Client) Leadership() (term int, since time.Time) {
	if c.leader.hasChoice() {
		return c.leader.leadership()
	}
	_, returned, since := c.restarts.counted()
	return returned + 1, since
}

// Servers returns the XML-RPC addresses that the zone lists for its servers, as far as known.
func (c *Client) Servers() []string {
	c.leader.servers.mutex.Lock()
	defer c.leader.servers.mutex.Unlock()
	return slices.Clone(c.leader.servers.listed)
}

// Introduce adds servers that the zone is known to have: if the configured one is
// down, another can be asked. With Config.Others it does nothing.
func (c *Client) Introduce(servers []string) { c.leader.servers.add(servers...) }

// SetConnections sets how many connections to each oned may be used, at most
// Config.MaxConnections; with 0 calls wait. Surplus connections are closed at once.
func (c *Client) SetConnections(most int) {
	if c.slots.resize(min(most, c.transport.MaxConnsPerHost)) {
		c.transport.CloseIdleConnections()
	}
}

// Busy reports whether calls are under way or wait.
func (c *Client) Busy() bool { return c.slots.busy() }

// Ping reports whether the called oned answers, bypassing the calls that wait.
func (c *Client) Ping(ctx context.Context) bool {
	if c.acceptance.refusal() != nil {
		return true // which costs oned an auth driver
	}
	endpoint, _ := c.leader.endpoint()
	_, err := c.raftStatus(ctx, endpoint)
	_, refused := errors.AsType[*Error](err)
	return err == nil || refused
}

// ErrOtherUser is returned when credentials are another server user's: every session in
// use is the first user's.
var ErrOtherUser = errors.New("the server user has another name: restart the process")

// Refused reports whether oned refuses the server user.
func (c *Client) Refused() bool { return c.acceptance.refusal() != nil }

// ServerUser returns the server user's name.
func (c *Client) ServerUser() string { return c.tokens.user }

// Renew uses a changed password of the server user for every call from now
// on, including those of sessions in use, and reports whether it had changed.
func (c *Client) Renew(credentials Credentials) (changed bool, err error) {
	t := c.tokens
	if credentials.User != t.user {
		return false, ErrOtherUser
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	key := cipherKey(credentials.Password)
	if changed = !bytes.Equal(key, t.key); changed {
		t.key, t.before = key, t.key
		clear(t.made)
		c.acceptance.forget()
	}
	return changed, nil
}

// Close closes the idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Silence returns for how long oned has owed an answer: since the last answer, or since
// the first call after it. It is 0 while no call waits, or has failed for lack of an answer.
func (c *Client) Silence() time.Duration {
	c.pulse.mutex.Lock()
	defer c.pulse.mutex.Unlock()
	if c.pulse.since.IsZero() {
		return 0
	}
	return time.Since(c.pulse.since)
}

// Doubt returns for how long no majority of the zone's servers has confirmed the leader, as far as calls have found out. A leader
// that is cut off from the other servers still answers, and calls that change something hang.
func (c *Client) Doubt() time.Duration { return c.leader.doubt() }

// Box seals with the server user's password: every process of Flowjet that acts for users can
// open a sealed text, and nobody without the password.
func (c *Client) Box() *seal.Box {
	return &seal.Box{Keys: func() [][]byte {
		c.tokens.mutex.Lock()
		defer c.tokens.mutex.Unlock()
		keys := [][]byte{c.tokens.key, c.tokens.before}
		if c.tokens.before == nil {
			return keys[:1]
		}
		return keys
	}}
}

// ServerTime returns the time of oned's HTTP server, in whole seconds.
func ServerTime(ctx context.Context, endpoint string) (time.Time, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, http.NoBody)
	if err != nil {
		return time.Time{}, err
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask oned for its time: %w", err)
	}
	defer answer.Body.Close()
	return ParseDate(answer.Header.Get("Date"))
}

// ParseDate reads the Date header of oned's answers, which ends in UTC where
// HTTP, and so http.ParseTime, requires GMT.
func ParseDate(text string) (time.Time, error) {
	if at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 UTC", text); err == nil {
		return at, nil
	}
	return http.ParseTime(text)
}

// Session makes calls as one user. It is cheap, and safe for concurrent use. Its
// methods are grouped by the objects that they are about.
type Session struct {
	*caller
	documentCalls
	vmCalls
	networkCalls
}

type (
	documentCalls struct{ *caller }
	vmCalls       struct{ *caller } // and those about VM templates and scheduled actions
	networkCalls  struct{ *caller } // and those about virtual routers
)

func newSession(c *caller) *Session {
	return &Session{c, documentCalls{c}, vmCalls{c}, networkCalls{c}}
}

// caller makes the calls of a session, and those about users and the zone.
type caller struct {
	client *exchange
	// endpoint is the oned to call; empty for the leader.
	endpoint string
	// current gives the session string, which may be renewed between calls.
	current func() string
	// secret is the user's own password or token; empty in server sessions.
	secret string
	// group is the group that a scoped target names, or -1.
	group int
	// target is the user for whom the server user acts; empty in a user's own session.
	target string
	// guess is whether the target may be a user who does not exist: then a refusal is not examined.
	guess bool
	// confirmed requires that reads are answered by a server that certainly led the zone.
	confirmed bool
	guard     Guard
}

// Guard stands before the calls of a session that change something.
type Guard struct {
	// Refusal is the error of all of them, which then are not made; nil lets them pass.
	Refusal error
	// Wrote gets each document that one of them has made, or may have changed.
	Wrote func(document int)
}

// Server returns the session of the server user itself.
func (c *Client) Server() *Session { return c.For(c.tokens.user) }

// For returns the session in which the server user acts for another. A target of
// the form "name:gid" keeps the group of a scoped login token.
func (c *Client) For(user string) *Session {
	return newSession(c.as(user, ""))
}

// With returns a user's own session, with a password or a login token, which oned
// compares literally. Alternating calls for one user between such a session
// and one of For costs 200-320 ms a call in oned: Authenticate checks a
// secret, and everything else is done in For's.
func (c *Client) With(name, secret string) *Session {
	session := name + ":" + secret
	return newSession(&caller{client: c.exchange, secret: secret, group: -1, current: func() string { return session }})
}

// Confirmed returns a session of the same user whose reads are answered by the server
// that led the zone, in one term, before and after the answer. A follower's database is
// behind, so every decision to shrink, end or forget something needs such a read. Without
// certainty a read ends in an error that is Temporary (ErrUnconfirmed), and also if the
// leader lacks an object that a follower has (ErrDisagree). In a zone of one server it is
// the same session.
func (s *Session) Confirmed() *Session {
	confirmed := *s.caller
	confirmed.confirmed = true
	return newSession(&confirmed)
}

// Guarded returns a session of the same user with a guard.
func (s *Session) Guarded(guard Guard) *Session {
	guarded := *s.caller
	guarded.guard = guard
	return newSession(&guarded)
}

// Confirm returns a function that reports whether the server that reads go to has led the zone, in
// one term, from now until then: reads made in between are as good as a Confirmed session's.
func (c *Client) Confirm() func(context.Context) bool {
	endpoint, term := c.leader.endpoint()
	return func(ctx context.Context) bool {
		return !c.leader.hasChoice() || c.leader.confirm(ctx, endpoint, term, 0)
	}
}

// readAs makes a call whose answer is a text, and reads it by of.
func readAs[T any](ctx context.Context, c *caller, of func(text []byte) (T, error), method string, arguments ...any) (T, error) {
	var none T
	value, err := c.call(ctx, method, arguments)
	if err != nil {
		return none, err
	}
	text, is := value.([]byte)
	if !is {
		return none, unexpected(method, value)
	}
	return of(text)
}

// object makes a call whose answer is an object's XML, and reads it by of.
func object[T any](ctx context.Context, c *caller, of func(r *onexml.Reader) T, method string, arguments ...any) (T, error) {
	return readAs(ctx, c, func(text []byte) (T, error) { return readObject(method, text, of) }, method, arguments...)
}

// pool makes a call whose answer is a pool of objects, elements of the name,
// and reads each by of.
func pool[T any](ctx context.Context, c *caller, name string, of func(r *onexml.Reader) T, method string, arguments ...any) ([]T, error) {
	return readAs(ctx, c, func(text []byte) ([]T, error) { return readPool(method, text, name, of) }, method, arguments...)
}

// call makes a call, if the guard lets it pass.
func (c *caller) call(ctx context.Context, method string, arguments []any) (any, error) {
	if reads(method) {
		return c.client.call(ctx, c, method, arguments)
	}
	if c.guard.Refusal != nil {
		return nil, c.guard.Refusal
	}
	value, err := c.client.call(ctx, c, method, arguments)
	if c.guard.Wrote != nil && strings.HasPrefix(method, "one.document.") {
		document, known := arguments[0].(int) // a failed call may have been carried out
		if made, answered := value.(int64); answered {
			document, known = int(made), true
		}
		if known {
			c.guard.Wrote(document)
		}
	}
	return value, err
}

func (c *caller) callID(ctx context.Context, method string, arguments ...any) (int, error) {
	value, err := c.call(ctx, method, arguments)
	if err != nil {
		return 0, err
	}
	if id, isID := value.(int64); isID {
		return int(id), nil
	}
	return 0, unexpected(method, value)
}

func (c *caller) do(ctx context.Context, method string, arguments ...any) error {
	_, err := c.call(ctx, method, arguments)
	return err
}

// Version returns oned's version, "7.4.0" (one.system.version).
func (c *caller) Version(ctx context.Context) (string, error) {
	return readAs(ctx, c, func(text []byte) (string, error) { return string(text), nil }, "one.system.version")
}
