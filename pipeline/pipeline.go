package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Config is how a Pipeline finds NATS.
type Config struct {
	// URL is nats://host:port, or several separated by commas.
	URL string
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

// Pipeline is a connection to JetStream with Flowjet's streams and buckets in place, over which the
// clients in this package's folders work. It is safe for use by several goroutines.
type Pipeline struct {
	// Client is the connection, which Close ends, and what the clients store and read with.
	*js.Client
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
	if config.Bound {
		if _, err = (provisioner{p}).find(ctx, awaitMaking, nil); err != nil {
			err = fmt.Errorf("find the streams on %s: %w", p.Server(), err)
		}
	} else if err = (provisioner{p}).provision(ctx, max(config.Replicas, 1)); err != nil {
		err = fmt.Errorf("prepare the streams on %s: %w", p.Server(), js.Explain(err))
	}
	if err == nil {
		err = p.CheckZone(ctx, config.Role)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func connect(ctx context.Context, config Config) (*Pipeline, error) {
	wanted := js.Config{URL: config.URL, Options: config.Options, Name: config.Name, Logger: config.Logger}
	if config.Role != "" {
		wanted.InboxPrefix = config.Role.InboxPrefix()
	}
	core, err := js.Connect(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return &Pipeline{Client: core, zone: config.Zone, schema: cmp.Or(config.Schema, Version)}, nil
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
		err = fmt.Errorf("find the streams on %s: %w", p.Server(), js.Explain(err))
		p.Close()
		return nil, nil, err
	}
	return p, missing, nil
}

// Zone is the OpenNebula zone's id.
func (p *Pipeline) Zone() int { return p.zone }

// Schema is the schema version that is written, and the newest that is read.
func (p *Pipeline) Schema() int { return p.schema }

var (
	// ErrConflict is returned when somebody else wrote first: load again and decide again.
	ErrConflict = errors.New("changed by another writer")
	// ErrNotFound is returned when there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrNoReply is returned when no worker answered in time; the command stays queued.
	ErrNoReply = errors.New("no worker answered in time, the command stays queued")
	// ErrSuperseded is returned when another bridge has taken the feed over.
	ErrSuperseded = errors.New("another bridge has taken over the feed")
	// ErrNotProvisioned is returned when a stream is missing and it is not ours to make.
	ErrNotProvisioned = errors.New("it does not exist; an operator must create it: `flowjet nats provision`")
	// ErrNewer is returned when a newer Flowjet wrote it: it is left as it is, for a worker of that version.
	ErrNewer = errors.New("it was written by a newer Flowjet: only a worker of that version can process it")
	// ErrFull is returned when there is no room for more that waits for the same receiver.
	ErrFull = errors.New("too many deliveries are pending for the receiver")
	// ErrOtherZone is returned where the data is another zone's: what it holds would be taken for
	// this zone's services and VMs, whose ids are the same numbers.
	ErrOtherZone = errors.New("the data belongs to another zone")
	// ErrUnpublishable is returned for a message that NATS will never take, because of
	// its subject or its size: trying again is of no use.
	ErrUnpublishable = js.ErrUnpublishable
	// ErrUnreadable is returned for a message that is in the dead letters because it
	// cannot be understood: there is nothing else to be done for it.
	ErrUnreadable = errors.New("the message cannot be read and is a dead letter")
	// ErrClosed is returned when the reader was stopped or the pipeline closed.
	ErrClosed = js.ErrClosed
)
