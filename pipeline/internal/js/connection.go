package js

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	connectTimeout   = 2 * time.Second
	pingInterval     = 2 * time.Second
	firstReconnect   = 20 * time.Millisecond
	slowestReconnect = 2 * time.Second
)

// ConnectionState is what an operator asks first: is NATS there, since when.
type ConnectionState struct {
	Connected bool
	// Since is when it became so.
	Since time.Time
	// Server is the URL of the server connected to, without credentials.
	Server string
	// Error is why the last attempt to connect failed; empty while connected.
	Error string
}

// connectionWatch follows a connection's state and logs each change once.
type connectionWatch struct {
	log     *slog.Logger
	conn    *nats.Conn
	changes chan nats.Status
	done    chan struct{}
	// lost is closed when the connection is closed for good by somebody else.
	lost chan struct{}

	mu      sync.Mutex
	current ConnectionState
	stopped bool
	// epoch ends at the next reconnect.
	epoch    context.Context
	endEpoch context.CancelFunc
}

func connect(ctx context.Context, config Config, log *slog.Logger) (*nats.Conn, *connectionWatch, error) {
	watch := newConnectionWatch(log)
	conn := config.Conn
	if conn == nil {
		var err error
		if conn, err = nats.Connect(config.URL, connectOptions(config, watch)...); err != nil {
			return nil, nil, fmt.Errorf("connect to NATS at %s: %w", redact(config.URL), err)
		}
	}
	watch.follow(conn)
	if err := watch.wait(ctx, redact(config.URL)); err != nil {
		watch.stop()
		if config.Conn == nil {
			conn.Close()
		}
		return nil, nil, err
	}
	return conn, watch, nil
}

func newConnectionWatch(log *slog.Logger) *connectionWatch {
	watch := &connectionWatch{log: log, done: make(chan struct{}), lost: make(chan struct{}), current: ConnectionState{Since: time.Now()}}
	watch.epoch, watch.endEpoch = context.WithCancel(context.Background())
	return watch
}

// currentEpoch is a context that ends with the next reconnect: what the server
// kept in memory for this connection may be gone then.
func (w *connectionWatch) currentEpoch() context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch
}

func connectOptions(config Config, watch *connectionWatch) []nats.Option {
	options := []nats.Option{
		nats.Name(config.Name),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		// Whoever changes a password on the server first must not stop us for ever.
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { watch.failed(err) }),
		nats.ErrorHandler(watch.report),
	}
	if config.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(config.InboxPrefix))
	}
	return append(options, config.Options...)
}

// reconnectDelay grows with the rounds through the servers, spread so that
// not all of Flowjet comes back in the same instant.
func reconnectDelay(round int) time.Duration {
	delay := firstReconnect << min(max(round-1, 0), 10)
	delay = min(delay, slowestReconnect)
	return delay/2 + rand.N(delay/2+1)
}

func (w *connectionWatch) follow(conn *nats.Conn) {
	w.conn = conn
	w.changes = conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	w.note(conn.IsConnected())
	go func() {
		defer close(w.done)
		for range w.changes {
			// The state is asked for and not taken from the message: a full
			// channel drops messages, never the newest state.
			w.note(conn.IsConnected())
			if conn.IsClosed() {
				w.closed()
				return
			}
		}
	}()
}

// closed notes that the connection is closed for good: NATS does so with a client whose
// line it cannot read, and nats.go does not connect again.
func (w *connectionWatch) closed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	w.log.Error("NATS has closed the connection permanently", "server", w.current.Server, "error", w.conn.LastError())
	close(w.lost)
}

func (w *connectionWatch) stop() {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.conn.RemoveStatusListener(w.changes)
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endEpoch()
}

func (w *connectionWatch) note(connected bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current.Connected == connected {
		return
	}
	w.current.Connected, w.current.Since = connected, time.Now()
	if connected {
		w.endEpoch()
		w.epoch, w.endEpoch = context.WithCancel(context.Background())
		w.current.Server, w.current.Error = w.conn.ConnectedUrlRedacted(), ""
		w.log.Info("connected to NATS", "server", w.current.Server)
		return
	}
	if !w.conn.IsClosed() {
		w.log.Warn("lost the connection to NATS, reconnecting", "server", w.current.Server)
	}
}

// failed is called for each attempt in vain. The first of a row is logged.
func (w *connectionWatch) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current.Error == "" {
		w.log.Warn("cannot connect to NATS, retrying", "error", err)
	}
	w.current.Error = err.Error()
}

// report logs what NATS says about subscriptions and permissions.
func (w *connectionWatch) report(_ *nats.Conn, subscription *nats.Subscription, err error) {
	subject := ""
	if subscription != nil {
		subject = subscription.Subject
	}
	w.log.Warn("NATS reports an error", "subject", subject, "error", err)
}

func (w *connectionWatch) state() ConnectionState {
	w.note(w.conn.IsConnected())
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// wait returns when the connection stands, or when ctx ends, with the reason
// of the last attempt.
func (w *connectionWatch) wait(ctx context.Context, where string) error {
	ticker := time.NewTicker(firstReconnect)
	defer ticker.Stop()
	for {
		if w.state().Connected {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			reason := cmp.Or(w.state().Error, ctx.Err().Error())
			return fmt.Errorf("connect to NATS at %s: %s; start the server or correct the address: %w", where, reason, ctx.Err())
		}
	}
}

// redact takes the credentials out of a list of URLs.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, text := range list {
		if parsed, err := url.Parse(strings.TrimSpace(text)); err == nil {
			parsed.User = nil
			list[i] = parsed.String()
		}
	}
	return strings.Join(list, ",")
}
