// Package pipeline is the contract that Flowjet's parts keep with each other on NATS JetStream: the
// names of every stream, subject, header and bucket, every message and record, who may do what, and
// the streams as they are to be. Open connects and makes them. What is done with them is in the
// folders below, a client for each purpose (docs/architecture.md, "The clients of JetStream"), made of a
// Pipeline by its New.
//
// Safety: nothing is reported as published before JetStream has acknowledged it; a record changes
// only by compare-and-set, so of two writers one fails; a feed is published only by the holder of
// its newest lease. Liveness: a lost connection is made again for as long as the process runs, and
// a reader that hears nothing, not even idle heartbeats, is replaced.
package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/internal/errs"
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
func Open(ctx context.Context, config Config) (p *Pipeline, err error) {
	if p, err = connect(ctx, config); err != nil {
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
	return &Pipeline{Client: core, zone: config.Zone, schema: cmp.Or(config.Schema, Version)}, err
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
	if missing, err = (provisioner{p}).find(ctx, js.Retry, []string{}); err != nil {
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
	// ErrRewritten is returned where a stream has lost its end since that was read, and has other messages in its place.
	ErrRewritten = errors.New("the stream has lost messages that were read, and has others in their place")
	// ErrClosed is returned when the reader was stopped or the pipeline closed.
	ErrClosed = js.ErrClosed
)

// LoadCursor is the sequence up to which the reader of that name is done; 0 before its first SaveCursor.
func (p *Pipeline) LoadCursor(ctx context.Context, name string) (cursor uint64, err error) {
	defer errs.Wrap(&err, "load the cursor %s", name)
	text, revision, err := p.Bucket(BucketCheckpoint).Get(ctx, name)
	if err != nil || revision == 0 {
		return 0, err
	}
	if cursor, err = strconv.ParseUint(string(text), 10, 64); err != nil {
		return 0, fmt.Errorf("%q is not a sequence; delete the key to read all again", text)
	}
	return cursor, nil
}

// SaveCursorEvery is how often a reader saves its cursor: what is read again after a crash.
const SaveCursorEvery = 250 * time.Millisecond

// SaveCursor keeps the sequence up to which the reader of that name is done. Two readers of one
// name may both save: a cursor that went back only makes the next reader read again what is done.
func (p *Pipeline) SaveCursor(ctx context.Context, name string, sequence uint64) (err error) {
	defer errs.Wrap(&err, "save the cursor %s", name)
	return p.Bucket(BucketCheckpoint).Put(ctx, name, fmt.Append(nil, sequence))
}

// BeginCursor is LoadCursor for a reader that begins at the given place when it
// is started for the first time ever.
func (p *Pipeline) BeginCursor(ctx context.Context, name string, first uint64) (uint64, error) {
	if _, err := p.Bucket(BucketCheckpoint).Create(ctx, name, fmt.Append(nil, first)); err != nil && !js.Conflict(err) {
		return 0, fmt.Errorf("begin the cursor %s: %w", name, err)
	}
	return p.LoadCursor(ctx, name)
}

// FurthestCursor is the highest cursor of a stream's readers. A stream made
// anew has to number on from there: readers wait for what comes behind their
// cursors, and records skip what is numbered as before.
func (p *Pipeline) FurthestCursor(ctx context.Context, stream string) (uint64, error) {
	var names []string
	switch stream {
	case StreamONE:
		names = []string{RouterKey}
	case StreamWork:
		names = Keys()[:Partitions]
	}
	var furthest uint64
	for _, name := range names {
		cursor, err := p.LoadCursor(ctx, name)
		if err != nil {
			return 0, err
		}
		furthest = max(furthest, cursor)
	}
	return furthest, nil
}

// stampKey is where BucketCheckpoint says which zone all of the data belongs to.
const stampKey = "zone"

// stamp is what the data says of itself.
type stamp struct {
	Version int       `json:"v"`
	Zone    int       `json:"zone"`
	Since   time.Time `json:"since"`
}

// CheckZone returns ErrOtherZone where the data is not the configured zone's, and stamps data that
// has no zone yet where the role may.
func (p *Pipeline) CheckZone(ctx context.Context, role Role) error {
	mine := stamp{Version: Version, Zone: p.zone, Since: time.Now().UTC()}
	mayStamp := role == "" || role == RoleAll || role == RoleWorker || role == RoleOperator
	checkpoints := p.Bucket(BucketCheckpoint)
	text, revision, err := checkpoints.Get(ctx, stampKey)
	if err == nil && revision == 0 && mayStamp {
		if _, err = checkpoints.Create(ctx, stampKey, Encode(mine)); js.Conflict(err) {
			text, _, err = checkpoints.Get(ctx, stampKey)
		}
	}
	held := mine
	if err == nil && len(text) > 0 {
		held = stamp{}
		if err = json.Unmarshal(text, &held); err != nil {
			err = fmt.Errorf("the stamp cannot be read: %w; delete the key %s of %s to recreate it", err, stampKey, BucketCheckpoint)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("read the zone of the data: %w", err)
	case held.Zone != p.zone:
		return fmt.Errorf("%w: it belongs to zone %d, but --zone is %d; set the right zone, or another data folder or NATS account", ErrOtherZone, held.Zone, p.zone)
	}
	return nil
}

// The keys of BucketCheckpoint that tell whether the data and oned belong together.
const (
	onedKey     = "oned"
	mismatchKey = "mismatch"
)

// OnedMark is a VM by which oned's database is recognised: one that was restored from a
// backup, or is another oned's, does not have it, or has another VM of that id.
type OnedMark struct {
	Version int `json:"v"`
	// VM is the newest VM that was seen, -1 for none, and Made its STIME.
	VM   int    `json:"vm"`
	Made string `json:"made,omitempty"`
	// Restored is when a database was found that is not the one of before. Records from before
	// that are believed only where oned's documents agree.
	Restored time.Time `json:"restored,omitzero"`
}

// Mismatch is the last time at which data and oned were found not to belong together.
type Mismatch struct {
	Version int       `json:"v"`
	Found   time.Time `json:"found"`
	Reason  string    `json:"reason"`
}

// LoadOnedMark returns the mark; false without one, or where it cannot be read.
func (p *Pipeline) LoadOnedMark(ctx context.Context) (mark OnedMark, has bool, err error) {
	has, err = p.loadNote(ctx, onedKey, &mark)
	return mark, has, err
}

// SaveOnedMark keeps the mark.
func (p *Pipeline) SaveOnedMark(ctx context.Context, mark OnedMark) error {
	mark.Version = Version
	return p.saveNote(ctx, onedKey, mark)
}

// LastMismatch returns what NoteMismatch kept last; false if nothing.
func (p *Pipeline) LastMismatch(ctx context.Context) (mismatch Mismatch, has bool, err error) {
	has, err = p.loadNote(ctx, mismatchKey, &mismatch)
	return mismatch, has, err
}

// NoteMismatch keeps for operators what was found.
func (p *Pipeline) NoteMismatch(ctx context.Context, reason string) error {
	return p.saveNote(ctx, mismatchKey, Mismatch{Version: Version, Found: time.Now().UTC(), Reason: reason})
}

// LastRecordTime is when a record was written last, the zero time without one.
func (p *Pipeline) LastRecordTime(ctx context.Context) (last time.Time, err error) {
	defer errs.Wrap(&err, "ask when a record was written last")
	info, err := p.Stream(StreamOf(BucketState)).Info(ctx)
	if err == nil {
		last = info.State.LastTime
	}
	return last, err
}

func (p *Pipeline) loadNote(ctx context.Context, key string, note any) (has bool, err error) {
	defer errs.Wrap(&err, "read the key %s of %s", key, BucketCheckpoint)
	text, revision, err := p.Bucket(BucketCheckpoint).Get(ctx, key)
	return revision != 0 && json.Unmarshal(text, note) == nil, err
}

func (p *Pipeline) saveNote(ctx context.Context, key string, note any) (err error) {
	defer errs.Wrap(&err, "write the key %s of %s", key, BucketCheckpoint)
	return p.Bucket(BucketCheckpoint).Put(ctx, key, Encode(note))
}
