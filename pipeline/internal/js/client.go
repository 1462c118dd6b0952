package js

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config is how a Client finds NATS.
type Config struct {
	// URL is nats://host:port, or several separated by commas.
	URL string
	// Options are added to the connection's own: credentials, TLS, in-process.
	Options []nats.Option
	// InboxPrefix is what the connection's inboxes begin with; empty for nats.go's.
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
	watch := &connectionWatch{log: c.log, done: make(chan struct{}), lost: make(chan struct{}), current: ConnectionState{Since: time.Now()}}
	watch.epoch, watch.endEpoch = context.WithCancel(context.Background())
	var err error
	if c.conn, err = nats.Connect(config.URL, connectOptions(config, watch)...); err != nil {
		if quoted := new(url.Error); errors.As(err, &quoted) {
			err = quoted.Err // without the URL, in which a password may stand
		}
		return nil, fmt.Errorf("connect to NATS at %s: %w", redact(config.URL), err)
	}
	watch.follow(c.conn)
	c.watch = watch
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
			stream.group.wait.Wait() // for what is under way; the client's life has ended
		}
	})
}

// Life is a context that ends with Close.
func (c *Client) Life() context.Context { return c.life }

// Lost is closed when NATS has closed the connection for good: nothing can be read or
// published any more, and another Client is needed.
func (c *Client) Lost() <-chan struct{} { return c.watch.lost }

// State is that of the connection.
func (c *Client) State() ConnectionState { return c.watch.state() }

// Conn is the connection, for core NATS.
func (c *Client) Conn() *nats.Conn { return c.conn }

// JetStream is nats.go's client, for what is made and changed.
func (c *Client) JetStream() jetstream.JetStream { return c.js }

// Server is the URL of the server connected to, without credentials.
func (c *Client) Server() string { return c.conn.ConnectedUrlRedacted() }

// Log is the client's logger.
func (c *Client) Log() *slog.Logger { return c.log }

// Stream returns a stream; the calls of one that is not bound fail.
func (c *Client) Stream(name string) *Stream {
	if stream := c.streams[name]; stream != nil {
		return stream
	}
	stream := &Stream{client: c, name: name}
	stream.group = &group{store: func(entries []*entry) { stream.append(c.life, entries, Rules{}) }}
	return stream
}

// Bind looks a stream up, so that it can be used.
func (c *Client) Bind(ctx context.Context, name string) error {
	handle, err := c.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	stream := c.Stream(name)
	stream.handle, c.streams[name] = handle, stream
	return nil
}

// Bucket returns a bucket; the calls of one that is not bound fail.
func (c *Client) Bucket(name string) *Bucket {
	if bucket := c.buckets[name]; bucket != nil {
		return bucket
	}
	return &Bucket{client: c}
}

// BindBucket looks a bucket up, so that it can be used.
func (c *Client) BindBucket(ctx context.Context, name string) error {
	kv, err := c.js.KeyValue(ctx, name)
	if err == nil {
		c.buckets[name] = &Bucket{c, kv}
	}
	return err
}

// Announce publishes on core NATS: it is not stored, and lost when nobody listens.
// Without a connection it returns nats.ErrDisconnected: an announcement that is sent
// after the next connect would no longer be true.
func (c *Client) Announce(subject string, data []byte) error {
	if err := c.connected(); err != nil {
		return err
	}
	return c.conn.Publish(subject, data)
}

// connected returns a transient error without a connection: nats.go keeps what is then
// sent until the next connect, when its sender may long have reported a failure.
func (c *Client) connected() error {
	if !c.conn.IsConnected() {
		return nats.ErrDisconnected
	}
	return nil
}
