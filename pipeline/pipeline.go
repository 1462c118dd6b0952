package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/pipeline/internal/js"
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
	// Bound has Open take the streams as they are and make none: for a role
	// that may not. ErrNotProvisioned is returned if one is missing.
	Bound bool
	// Role is what the process is to NATS; empty where NATS asks nobody.
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

// Pipeline is a connection to JetStream with Flowjet's streams and buckets in
// place, over which the clients in this package's folders work. It is safe for use
// by several goroutines.
type Pipeline struct {
	core *js.Client
	zone int
	// schema is Version, or what a test has set.
	schema int
}

// ConnectionState is what an operator asks first: is NATS there, since when.
type ConnectionState = js.ConnectionState

// Open connects and makes the streams and buckets that are missing or differ.
// It waits for NATS until ctx ends; an error then names what was missing.
func Open(ctx context.Context, config Config) (*Pipeline, error) {
	p, err := connect(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := p.prepare(ctx, config); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func connect(ctx context.Context, config Config) (*Pipeline, error) {
	wanted := js.Config{URL: config.URL, Conn: config.Conn, Options: config.Options, Name: config.Name, Logger: config.Logger}
	if config.Role != "" {
		wanted.InboxPrefix = config.Role.InboxPrefix()
	}
	core, err := js.Connect(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return &Pipeline{core: core, zone: config.Zone, schema: cmp.Or(config.Schema, Version)}, nil
}

func (p *Pipeline) prepare(ctx context.Context, config Config) error {
	if !config.Bound {
		if err := (provisioner{p}).provision(ctx, max(config.Replicas, 1)); err != nil {
			return fmt.Errorf("prepare the streams on %s: %w", p.core.Server(), js.Explain(err))
		}
	} else if _, err := (provisioner{p}).find(ctx, awaitMaking, nil); err != nil {
		return fmt.Errorf("find the streams on %s: %w", p.core.Server(), err)
	}
	return p.checkZone(ctx, config.Role)
}

// Attach connects as Open does, but makes and changes nothing: it is for those
// who only look. Missing names the streams and buckets that are not there, without
// which calls that need them fail; on a server where Flowjet has run none is.
func Attach(ctx context.Context, config Config) (p *Pipeline, missing []string, err error) {
	// A reader wants to know at once that there is no server, or none that lets him in.
	config.Options = append(slices.Clone(config.Options), nats.RetryOnFailedConnect(false))
	if p, err = connect(ctx, config); err != nil {
		return nil, nil, err
	}
	missing = []string{}
	if missing, err = (provisioner{p}).find(ctx, js.Retry, missing); err != nil {
		err = fmt.Errorf("find the streams on %s: %w", p.core.Server(), js.Explain(err))
		p.Close()
		return nil, nil, err
	}
	return p, missing, nil
}

// Close ends the connection and everything that was opened on it. A Conn that
// Open was given stays open.
func (p *Pipeline) Close() { p.core.Close() }

// Lost is closed when NATS has closed the connection for good: nothing can be read or
// published any more, and whoever needs the pipeline has to open another one.
func (p *Pipeline) Lost() <-chan struct{} { return p.core.Lost() }

// State is that of the connection to NATS.
func (p *Pipeline) State() ConnectionState { return p.core.State() }

// Conn is the connection, for core NATS.
func (p *Pipeline) Conn() *nats.Conn { return p.core.Conn() }

// JetStream is nats.go's view of all streams.
func (p *Pipeline) JetStream() jetstream.JetStream { return p.core.JetStream() }

// Core is what the clients in this package's folders store and read with.
func (p *Pipeline) Core() *js.Client { return p.core }

// Zone is the OpenNebula zone's id.
func (p *Pipeline) Zone() int { return p.zone }

// Schema is the schema version that is written, and the newest that is read.
func (p *Pipeline) Schema() int { return p.schema }
