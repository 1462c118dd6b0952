// Package js is the core of Flowjet's clients of JetStream: a connection, the
// ways to store messages, to read a stream in order, and to read and write a bucket.
// It is independent of Flowjet's names and messages.
//
// The ways to store a message, each where it is fastest or safest: Publish for one;
// Append for some in their order, AppendEach for some with conditions of their own, and AppendGroups for several such orders, each time
// by the fastest of an atomic batch, pipelining, or one after the other; Commit for the messages of
// several concurrent callers, by one AppendEach; Stage for a batch that is sent before
// it may be stored.
//
// Safety: nothing is reported as stored before JetStream has acknowledged it, and nothing is sent
// that could be stored after its sender got an error. Liveness: each call retries
// conditions that pass (an election, a reconnect), for 15 s or until its context ends; a
// lost connection is re-established for as long as the client lives; and a reader that receives nothing,
// not even idle heartbeats, is replaced. After an error of another package the request
// may have been carried out: calls are made so that repeating them is harmless.
package js

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/idle"
)

// Config sets how a Client connects to NATS.
type Config struct {
	// URL is nats://host:port, or several separated by commas.
	URL string
	// Options are added to the connection's own: credentials, TLS, in-process.
	Options []nats.Option
	// InboxPrefix is the beginning of the connection's inboxes; empty for nats.go's.
	InboxPrefix string
	// Name is the connection's name in NATS's own listings.
	Name   string
	Logger *slog.Logger
}

// Client is a connection to JetStream. It is safe for use by several goroutines
// once its streams and buckets are bound.
type Client struct {
	conn  *nats.Conn
	js    jetstream.JetStream
	log   *slog.Logger
	watch *connectionWatch

	streams map[string]*Stream
	buckets map[string]*Bucket
	// life ends with Close.
	life context.Context
	end  context.CancelFunc
	once sync.Once
}

// Connect connects to NATS and waits for it until ctx ends.
func Connect(ctx context.Context, config Config) (*Client, error) {
	c := &Client{log: cmp.Or(config.Logger, slog.New(slog.DiscardHandler)), streams: map[string]*Stream{}, buckets: map[string]*Bucket{}}
	watch := &connectionWatch{log: c.log, lost: make(chan struct{}), current: ConnectionState{Since: time.Now()}}
	watch.epoch, watch.endEpoch = context.WithCancel(context.Background())
	var err error
	if c.conn, err = nats.Connect(config.URL, connectOptions(config, watch)...); err != nil {
		if quoted := new(url.Error); errors.As(err, &quoted) {
			err = quoted.Err // without the URL, which may have a password
		}
		return nil, fmt.Errorf("connect to NATS at %s: %w", redact(config.URL), err)
	}
	watch.conn, c.watch = c.conn, watch
	c.life, c.end = context.WithCancel(context.Background())
	err = watch.wait(ctx, redact(config.URL))
	if err == nil {
		if c.js, err = jetstream.New(c.conn, jetstream.WithPublishAsyncTimeout(Attempt)); err != nil {
			err = fmt.Errorf("use JetStream on %s: %w", c.Server(), err)
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection and everything that was opened on it.
func (c *Client) Close() {
	c.once.Do(func() {
		c.end()
		if c.js != nil {
			c.js.CleanupPublisher()
		}
		c.watch.stop()
		c.conn.Close()
		for _, stream := range c.streams {
			stream.group.mutex.Lock()
			stream.group.closed = true
			stream.group.mutex.Unlock()
			stream.group.wait.Wait() // for entries under way; the client's life has ended
		}
	})
}

// Life returns a context that ends with Close.
func (c *Client) Life() context.Context { return c.life }

// Lost returns a channel that is closed when NATS has closed the connection for good: nothing can be read or
// published any more, and another Client is needed.
func (c *Client) Lost() <-chan struct{} { return c.watch.lost }

// State returns the state of the connection.
func (c *Client) State() ConnectionState { return c.watch.state() }

// Conn returns the connection, for core NATS.
func (c *Client) Conn() *nats.Conn { return c.conn }

// JetStream returns nats.go's client, for creating and changing streams.
func (c *Client) JetStream() jetstream.JetStream { return c.js }

// Server returns the URL of the server connected to, without credentials.
func (c *Client) Server() string { return c.conn.ConnectedUrlRedacted() }

// Log returns the client's logger.
func (c *Client) Log() *slog.Logger { return c.log }

// Stream returns a stream; calls fail if it is not bound.
func (c *Client) Stream(name string) *Stream {
	if stream := c.streams[name]; stream != nil {
		return stream
	}
	stream := &Stream{client: c, name: name}
	stream.group = &group{store: func(entries []*entry) { stream.append(c.life, entries, Rules{}) }}
	return stream
}

// Bind gets a stream, and the bucket on it, so that they can be used.
func (c *Client) Bind(ctx context.Context, name string) error {
	handle, err := c.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	if bucket, is := strings.CutPrefix(name, BucketPrefix); is {
		kv, err := c.js.KeyValue(ctx, bucket)
		if err != nil {
			return err
		}
		c.buckets[bucket] = &Bucket{c, kv}
	}
	stream := c.Stream(name)
	stream.handle, c.streams[name] = handle, stream
	return nil
}

// Bucket returns a bucket; calls fail if it is not bound.
func (c *Client) Bucket(name string) *Bucket {
	if bucket := c.buckets[name]; bucket != nil {
		return bucket
	}
	return &Bucket{client: c}
}

// Announce publishes on core NATS: the message is not stored, and lost when nobody listens.
// Without a connection it returns nats.ErrDisconnected: an announcement that is sent
// after the next connect would no longer be true.
func (c *Client) Announce(subject string, data []byte) error {
	if err := c.connected(); err != nil {
		return err
	}
	return c.conn.Publish(subject, data)
}

// Forbidden reports whether the server last refused a call of JetStream's API, such as STREAM.CREATE.ONE, that this process's user may not make.
func (c *Client) Forbidden(call string) bool {
	err := c.conn.LastError()
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), "."+call+`"`)
}

// NoAnswers reports whether the server last refused this process its inbox, without which no call gets an answer.
func (c *Client) NoAnswers() bool {
	err := c.conn.LastError()
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `Subscription to "`+cmp.Or(c.conn.Opts.InboxPrefix, "_INBOX")+".")
}

// connected returns a transient error without a connection: nats.go would keep the message
// until the next connect, when its sender may long have reported a failure.
func (c *Client) connected() error {
	if !c.conn.IsConnected() {
		return nats.ErrDisconnected
	}
	return nil
}

const (
	connectTimeout   = 2 * time.Second
	pingInterval     = 2 * time.Second
	firstReconnect   = 20 * time.Millisecond
	slowestReconnect = 2 * time.Second
)

// ConnectionState is the state of the connection to NATS, and since when.
type ConnectionState struct {
	Connected bool
	// Since is when it became so.
	Since time.Time
	// Server is the URL of the server connected to, without credentials.
	Server string
	// Error is the reason why the last attempt to connect failed; empty while connected.
	Error string
}

// connectionWatch follows a connection's state and logs each change once.
type connectionWatch struct {
	log  *slog.Logger
	conn *nats.Conn
	// lost is closed when the connection is closed for good by NATS.
	lost chan struct{}

	mu      sync.Mutex
	current ConnectionState
	stopped bool
	// epoch ends at the next reconnect: the server's memory of this connection may be
	// gone then.
	epoch    context.Context
	endEpoch context.CancelFunc
}

func connectOptions(config Config, watch *connectionWatch) []nats.Option {
	options := []nats.Option{
		nats.Name(config.Name),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		// A password that is changed on the server first must not stop us for ever.
		nats.IgnoreAuthErrorAbort(),
		// It grows with the rounds through the servers, with jitter so that not all of Flowjet
		// reconnects at the same instant.
		nats.CustomReconnectDelay(func(round int) time.Duration {
			delay := min(firstReconnect<<min(max(round-1, 0), 10), slowestReconnect)
			return delay/2 + rand.N(delay/2+1)
		}),
		nats.ConnectHandler(watch.update), nats.ReconnectHandler(watch.update), nats.ClosedHandler(watch.update),
		nats.DisconnectErrHandler(func(conn *nats.Conn, _ error) { watch.update(conn) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { // only the first of successive failures is logged
			watch.mu.Lock()
			defer watch.mu.Unlock()
			if watch.current.Error == "" {
				watch.log.Warn("cannot connect to NATS, retrying", "error", err)
			}
			watch.current.Error = err.Error()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, subscription *nats.Subscription, err error) { // of subscriptions and permissions
			subject := ""
			if subscription != nil {
				subject = subscription.Subject
			}
			watch.log.Warn("NATS reports an error", "subject", subject, "error", err)
		}),
	}
	if config.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(config.InboxPrefix))
	}
	return append(options, config.Options...)
}

// update fetches the connection's state, because that may have changed again since the call of the handler.
// NATS closes for good the connection of a client whose line it cannot read, and nats.go does not
// reconnect.
func (w *connectionWatch) update(conn *nats.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	connected, closed := conn.IsConnected(), conn.IsClosed()
	if w.current.Connected != connected {
		w.current.Connected, w.current.Since = connected, time.Now()
		switch {
		case connected:
			w.endEpoch()
			w.epoch, w.endEpoch = context.WithCancel(context.Background())
			w.current.Server, w.current.Error = conn.ConnectedUrlRedacted(), ""
			w.log.Info("connected to NATS", "server", w.current.Server)
		case !closed:
			w.log.Warn("lost the connection to NATS, reconnecting", "server", w.current.Server)
		}
	}
	if closed && !w.stopped {
		w.stopped = true
		w.log.Error("NATS has closed the connection permanently", "server", w.current.Server, "error", conn.LastError())
		close(w.lost)
	}
}

func (w *connectionWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.endEpoch()
}

func (w *connectionWatch) state() ConnectionState {
	w.update(w.conn)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// wait returns when the connection is up, or when ctx ends, with the reason of the last failed attempt.
func (w *connectionWatch) wait(ctx context.Context, where string) error {
	for !w.state().Connected {
		if err := idle.For(ctx, firstReconnect); err != nil {
			return fmt.Errorf("connect to NATS at %s: %s; start the server or correct the address: %w", where, cmp.Or(w.state().Error, err.Error()), err)
		}
	}
	return nil
}

func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, text := range list {
		parsed, err := url.Parse(strings.TrimSpace(text))
		if err != nil { // of an invalid URL only the part behind credentials is kept
			list[i] = text[strings.LastIndexByte(text, '@')+1:]
			continue
		}
		parsed.User = nil
		list[i] = parsed.String()
	}
	return strings.Join(list, ",")
}
