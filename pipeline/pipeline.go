package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config is how a Pipeline finds NATS.
type Config struct {
	// URL is nats://host:port, or several separated by commas.
	URL string
	// Conn is used instead of URL, and not closed by Close.
	Conn *nats.Conn
	// Options are added to the connection's own: credentials, TLS, in-process.
	Options []nats.Option
	// Replicas is how many servers keep each stream: 1 (or 0), 3 or 5. Streams
	// that have more already keep them.
	Replicas int
	// Bound has Open take the streams as they are and make none: for a user
	// who may not. ErrNotProvisioned is returned when one is missing.
	Bound bool
	// Role is who this is to NATS; empty where nobody asks.
	Role Role
	// Zone is the OpenNebula zone's id.
	Zone int
	// Schema is the schema version that is written, and the newest that is
	// read; 0 is Version. A test plays another Flowjet with it.
	Schema int
	// Name is the connection's name in NATS's own listings.
	Name   string
	Logger *slog.Logger
}

func (c Config) logger() *slog.Logger { return cmp.Or(c.Logger, slog.New(slog.DiscardHandler)) }

// Pipeline is a connection to JetStream with Flowjet's streams and buckets in
// place. It is safe for use by several goroutines.
type Pipeline struct {
	conn  *nats.Conn
	owned bool
	js    jetstream.JetStream
	zone  int
	// schema is Version, or what a test has set.
	schema int
	log    *slog.Logger

	state       jetstream.KeyValue
	checkpoints jetstream.KeyValue
	owners      jetstream.KeyValue
	commands    jetstream.KeyValue
	hooks       jetstream.KeyValue
	// streams are the handles of the streams, and of those under the buckets.
	streams map[string]jetstream.Stream

	watch   *connectionWatch
	replies *inbox
	// history, timers and records gather what is stored in StreamFlow, of timers in
	// StreamWork, and in BucketState.
	history, timers, records *gathering
	// life ends with Close.
	life context.Context
	end  context.CancelFunc
	once sync.Once
}

// Open connects and makes the streams and buckets that are missing or differ.
// It waits for NATS until ctx ends; an error then names what was missing.
func Open(ctx context.Context, config Config) (*Pipeline, error) {
	log := config.logger()
	conn, watch, err := connect(ctx, config, log)
	if err != nil {
		return nil, err
	}
	p := newPipeline(config, conn, watch, log)
	if err := p.prepare(ctx, config); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// newPipeline is a pipeline on a connection, without its streams.
func newPipeline(config Config, conn *nats.Conn, watch *connectionWatch, log *slog.Logger) *Pipeline {
	p := &Pipeline{
		conn: conn, owned: config.Conn == nil, zone: config.Zone, schema: cmp.Or(config.Schema, Version), log: log, watch: watch,
		streams: map[string]jetstream.Stream{},
	}
	p.life, p.end = context.WithCancel(context.Background())
	p.history = &gathering{dispatch: func(parcels []*parcel) { p.dispatchInOrder(StreamFlow, parcels) }}
	p.timers = &gathering{dispatch: func(parcels []*parcel) { p.dispatchInOrder(StreamWork, parcels) }}
	p.records = &gathering{dispatch: p.dispatchRecords}
	return p
}

func (p *Pipeline) prepare(ctx context.Context, config Config) error {
	var err error
	if p.js, err = jetstream.New(p.conn, jetstream.WithPublishAsyncTimeout(attempt)); err != nil {
		return fmt.Errorf("use JetStream on %s: %w", p.server(), err)
	}
	if config.Bound {
		if err := p.bind(ctx); err != nil {
			return fmt.Errorf("find the streams on %s: %w", p.server(), err)
		}
	} else if err := p.provision(ctx, max(config.Replicas, 1)); err != nil {
		return fmt.Errorf("prepare the streams on %s: %w", p.server(), explain(err))
	}
	if err := p.checkZone(ctx, config.Role); err != nil {
		return err
	}
	if p.replies, err = openInbox(p.conn); err != nil {
		return fmt.Errorf("listen for command replies on %s: %w", p.server(), err)
	}
	return nil
}

// explain adds what mends an error that a person has to mend.
func explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w; enable JetStream on the server and for the account", err)
	case noRoom(err):
		return fmt.Errorf("%w; give JetStream more room on the disk", err)
	case codeOf(err) == codeNoPeers:
		return fmt.Errorf("%w; fewer servers are up than replicas are asked for", err)
	}
	return err
}

// Close ends the connection and everything that was opened on it. A Conn that
// Open was given stays open.
func (p *Pipeline) Close() {
	p.once.Do(func() {
		p.end()
		if p.js != nil {
			p.js.CleanupPublisher()
		}
		p.replies.close()
		p.watch.stop()
		if p.owned {
			p.conn.Close()
		}
		p.history.close()
		p.timers.close()
		p.records.close()
	})
}

// Lost is closed when NATS has closed the connection for good: nothing can be read or
// published any more, and whoever needs the pipeline has to open another one.
func (p *Pipeline) Lost() <-chan struct{} { return p.watch.lost }

// Conn is the connection, for core NATS.
func (p *Pipeline) Conn() *nats.Conn { return p.conn }

// JetStream is the context of all streams.
func (p *Pipeline) JetStream() jetstream.JetStream { return p.js }

// replicated reports whether a stream is kept by more than one server.
func (p *Pipeline) replicated(stream string) bool {
	return p.streams[stream].CachedInfo().Config.Replicas > 1
}

func (p *Pipeline) server() string { return p.conn.ConnectedUrlRedacted() }
