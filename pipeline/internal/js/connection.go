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
	// epoch ends at the next reconnect: what the server kept in memory for this connection may be
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
		// Whoever changes a password on the server first must not stop us for ever.
		nats.IgnoreAuthErrorAbort(),
		// It grows with the rounds through the servers, spread so that not all of Flowjet
		// comes back in the same instant.
		nats.CustomReconnectDelay(func(round int) time.Duration {
			delay := min(firstReconnect<<min(max(round-1, 0), 10), slowestReconnect)
			return delay/2 + rand.N(delay/2+1)
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { // of attempts in vain the first of a row is logged
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

// follow notes each change of the connection, and that it is closed for good: NATS does so with
// a client whose line it cannot read, and nats.go does not connect again.
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
			if !conn.IsClosed() {
				continue
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if !w.stopped {
				w.log.Error("NATS has closed the connection permanently", "server", w.current.Server, "error", conn.LastError())
				close(w.lost)
			}
			return
		}
	}()
}

func (w *connectionWatch) stop() {
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

func (w *connectionWatch) state() ConnectionState {
	w.note(w.conn.IsConnected())
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// wait returns when the connection stands, or when ctx ends, with the reason of the last attempt.
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

func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, text := range list {
		parsed, err := url.Parse(strings.TrimSpace(text))
		if err != nil { // of what is no URL only what stands behind credentials is left
			list[i] = text[strings.LastIndexByte(text, '@')+1:]
			continue
		}
		parsed.User = nil
		list[i] = parsed.String()
	}
	return strings.Join(list, ",")
}
