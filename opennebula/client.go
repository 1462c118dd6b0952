package opennebula

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/flowjet/flowjet/internal/seal"
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

// Client is a connection pool to the oneds of a zone. Every call, also one that
// only reads, goes to the one that leads.
type Client struct{ *exchange }

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
	e := &exchange{
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
	single := newTransport(config.MaxConnections)
	single.DisableKeepAlives = true
	asIs := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	e.http = &http.Client{Transport: e.transport, CheckRedirect: asIs}
	e.probes = &http.Client{Transport: single, CheckRedirect: asIs}
	e.leader = newLeader(e, append([]string{config.Endpoint}, config.Others...), config.Logger)
	return &Client{e}
}

// Follow has calls go to whichever oned of the zone leads it, as the zone itself
// lists them (one.zone.info); with Config.Others, as they do. It asks once and
// returns; who leads is asked again by itself.
func (c *Client) Follow(ctx context.Context, zone int) {
	c.leader.mutex.Lock()
	c.leader.follows = true
	c.leader.servers.ofZone(zone)
	c.leader.mutex.Unlock()
	c.leader.find(ctx)
}

// Leadership returns the term of the zone's leader and since when that leader is known
// here; 0 while none was found. The first one may have led for any time, and since is
// zero. A oned that has no others begins a new term when it was down and came back.
func (c *Client) Leadership() (term int, since time.Time) {
	if !c.leader.hasChoice() {
		_, returned, since := c.restarts.counted()
		return returned + 1, since
	}
	return c.leader.leadership()
}

// Endpoint is the XML-RPC address that the next call goes to.
func (c *Client) Endpoint() string {
	endpoint, _ := c.leader.endpoint()
	return endpoint
}

// Servers returns the XML-RPC addresses that the zone lists for its servers, as far as known.
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
	_, refused := errors.AsType[*Error](err)
	return err == nil || refused
}

// ErrOtherUser is returned when credentials are another server user's: every session in
// use is the first one's.
var ErrOtherUser = errors.New("the server user has another name: restart the process")

// Renew takes over a changed password of the server user for every call from now
// on, those of sessions in use too, and reports whether it had changed.
func (c *Client) Renew(credentials Credentials) (changed bool, err error) {
	if credentials.User != c.tokens.user {
		return false, ErrOtherUser
	}
	t := c.tokens
	t.mutex.Lock()
	defer t.mutex.Unlock()
	key := cipherKey(credentials.Password)
	if changed = !bytes.Equal(key, t.key); changed {
		t.key, t.before = key, t.key
		clear(t.made)
	}
	return changed, nil
}

// Close lets go of the connections that are not in use.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Silence is for how long oned has owed an answer: since the last one, or since
// the first call after it. It is 0 while no call waits, or failed for want of an answer.
func (c *Client) Silence() time.Duration {
	c.pulse.mutex.Lock()
	defer c.pulse.mutex.Unlock()
	if c.pulse.since.IsZero() {
		return 0
	}
	return time.Since(c.pulse.since)
}

// Box seals with the server user's password: every process of Flowjet that acts for users can
// open what another has sealed, and nobody who has not the password.
func (c *Client) Box() *seal.Box {
	return &seal.Box{Keys: func() [][]byte {
		c.tokens.mutex.Lock()
		defer c.tokens.mutex.Unlock()
		if c.tokens.before == nil {
			return [][]byte{c.tokens.key}
		}
		return [][]byte{c.tokens.key, c.tokens.before}
	}}
}

// ParseDate reads the Date header of an answer of oned, which ends in UTC where
// HTTP, and so http.ParseTime, wants GMT.
func ParseDate(text string) (time.Time, error) {
	if at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 UTC", text); err == nil {
		return at, nil
	}
	return http.ParseTime(text)
}
