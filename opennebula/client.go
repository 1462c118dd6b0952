package opennebula

import (
	"context"
	"errors"
	"log/slog"
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
	e.http = newHTTPClient(e.transport)
	single := newTransport(config.MaxConnections)
	single.DisableKeepAlives = true
	e.probes = newHTTPClient(single)
	e.leader = newLeader(e, append([]string{config.Endpoint}, config.Others...), config.Logger)
	return &Client{e}
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

// ErrOtherUser is returned when credentials are another server user's: every session in
// use is the first one's.
var ErrOtherUser = errors.New("the server user has another name: restart the process")

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
func (c *Client) Box() *seal.Box { return &seal.Box{Keys: c.tokens.keys} }
