// Package pipeline is the contract between Flowjet's parts on NATS JetStream: the
// names of every stream, subject, header and bucket, every message and record, the permissions, and
// the configuration of the streams. Open connects and makes them. They are used by the clients in the
// folders below, one for each purpose (docs/architecture.md, "The clients of JetStream"), made of a
// Pipeline by its New.
//
// Safety: nothing is reported as published before JetStream has acknowledged it; a record changes
// only by compare-and-set, so of two writers one fails; a feed is published only by the holder of
// its newest lease. Liveness: a lost connection is re-established for as long as the process runs, and
// a reader that receives nothing, not even idle heartbeats, is replaced.
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

// Config sets how a Pipeline connects to NATS.
type Config struct {
	// URL is nats://host:port, or several separated by commas.
	URL string
	// Options are added to the connection's own: credentials, TLS, in-process.
	Options []nats.Option
	// Replicas is how many servers keep each stream: 1 (or 0), 3 or 5. Streams
	// that have more already keep them.
	Replicas int
	// Bound makes Open use the existing streams and make none: for a role
	// that may not. ErrNotProvisioned is returned if one is missing.
	Bound bool
	// Role is the role of the process on NATS; empty if NATS has no users.
	Role Role
	// Zone is the OpenNebula zone's id.
	Zone int
	// Schema is the schema version that is written, and the newest that is
	// read; 0 is Version. A test simulates another Flowjet with it.
	Schema int
	// Name is the connection's name in NATS's own listings.
	Name   string
	Logger *slog.Logger
}

// Pipeline is a connection to JetStream with Flowjet's streams and buckets in place, over which the
// clients in this package's folders work. It is safe for use by several goroutines.
type Pipeline struct {
	// Client is the connection, which Close ends, and with which the clients store and read.
	*js.Client
	zone int
	// schema is Version, unless a test has set it.
	schema int
	// bound is whether it uses the existing streams and makes none.
	bound bool
}

// ConnectionState is the state of the connection to NATS, and since when.
type ConnectionState = js.ConnectionState

// Open connects and makes the streams and buckets that are missing or differ.
// It waits for NATS until ctx ends; the error then names the missing part.
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
		err = p.explain(err, config.Role)
		p.Close()
		return nil, err
	}
	return p, nil
}

// explain replaces the error of a call that got no answer because NATS refuses the inboxes of the role.
func (p *Pipeline) explain(err error, role Role) error {
	if role == "" || !p.NoAnswers() {
		return err
	}
	return fmt.Errorf("NATS at %s %w: set the key of the role %s with --nats-nkey-file", p.Server(), ErrOtherRole, role)
}

func connect(ctx context.Context, config Config) (*Pipeline, error) {
	wanted := js.Config{URL: config.URL, Options: config.Options, Name: config.Name, Logger: config.Logger}
	if config.Role != "" {
		wanted.InboxPrefix = config.Role.InboxPrefix()
	}
	core, err := js.Connect(ctx, wanted)
	return &Pipeline{Client: core, zone: config.Zone, schema: cmp.Or(config.Schema, Version), bound: config.Bound}, err
}

// Attach connects as Open does, but makes and changes nothing: it is for commands
// that only read. Missing names the missing streams and buckets, without
// which calls that need them fail; on a server where Flowjet has never run all are.
func Attach(ctx context.Context, config Config) (p *Pipeline, missing []string, err error) {
	// A reader wants to know at once if there is no server, or none that accepts it.
	config.Options = append(slices.Clone(config.Options), nats.RetryOnFailedConnect(false))
	if p, err = connect(ctx, config); err != nil {
		return nil, nil, err
	}
	if missing, err = (provisioner{p}).find(ctx, js.Retry, []string{}); err != nil {
		err = p.explain(fmt.Errorf("find the streams on %s: %w", p.Server(), js.Explain(err)), config.Role)
		p.Close()
		return nil, nil, err
	}
	return p, missing, nil
}

// Zone returns the OpenNebula zone's id.
func (p *Pipeline) Zone() int { return p.zone }

// Schema returns the schema version that is written, and the newest that is read.
func (p *Pipeline) Schema() int { return p.schema }

var (
	// ErrConflict is returned when another writer wrote first: load again and decide again.
	ErrConflict = errors.New("changed by another writer")
	// ErrNotFound is returned for something that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrNoReply is returned when no worker answered in time; the command stays queued.
	ErrNoReply = errors.New("no worker answered in time, the command stays queued")
	// ErrSuperseded is returned when another bridge has taken the feed over.
	ErrSuperseded = errors.New("another bridge has taken over the feed")
	// ErrNotProvisioned is returned when a stream is missing and this role may not make it.
	ErrNotProvisioned = errors.New("it does not exist; an operator must create it: `flowjet nats provision`")
	// ErrOtherRole is returned if the key with which the process connects is another role's.
	ErrOtherRole = errors.New("refuses the permissions of this role: the key is another role's")
	// ErrNewer is returned for data that a newer Flowjet wrote: it is left unchanged, for a worker of that version.
	ErrNewer = errors.New("it was written by a newer Flowjet: only a worker of that version can process it")
	// ErrFull is returned when too many deliveries wait for the same receiver.
	ErrFull = errors.New("too many deliveries are pending for the receiver")
	// ErrOtherZone is returned for the data of another zone: its contents would be mistaken for
	// this zone's services and VMs, whose ids are the same numbers.
	ErrOtherZone = errors.New("the data belongs to another zone")
	// ErrUnpublishable is returned for a message that NATS will never accept, because of
	// its subject or its size: a retry is useless.
	ErrUnpublishable = js.ErrUnpublishable
	// ErrUnreadable is returned for a message that is in the dead letters because it
	// cannot be parsed: nothing else can be done for it.
	ErrUnreadable = errors.New("the message cannot be read and is a dead letter")
	// ErrUnreadableRecord is returned for a service's record that cannot be parsed: only this service waits, until an operator removes it.
	ErrUnreadableRecord = errors.New("it cannot be read")
	// ErrRewritten is returned if a stream has lost messages that were read, and has other messages in their place.
	ErrRewritten = errors.New("the stream has lost messages that were read, and has others in their place")
	// ErrClosed is returned when the reader was stopped or the pipeline closed.
	ErrClosed = js.ErrClosed
)

// LoadCursor returns the sequence up to which the reader of that name is done; 0 before its first SaveCursor.
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

// SaveCursorEvery is how often a reader saves its cursor: it reads that much again after a crash.
const SaveCursorEvery = 250 * time.Millisecond

// SaveCursor stores the sequence up to which the reader of that name is done. Two readers of one
// name may both save: a cursor that went back only makes the next reader read handled messages again.
func (p *Pipeline) SaveCursor(ctx context.Context, name string, sequence uint64) (err error) {
	defer errs.Wrap(&err, "save the cursor %s", name)
	return p.Bucket(BucketCheckpoint).Put(ctx, name, fmt.Append(nil, sequence))
}

// BeginCursor is LoadCursor for a reader that begins at first when it
// is started for the first time ever.
func (p *Pipeline) BeginCursor(ctx context.Context, name string, first uint64) (uint64, error) {
	if _, err := p.Bucket(BucketCheckpoint).Create(ctx, name, fmt.Append(nil, first)); err != nil && !js.Conflict(err) {
		return 0, fmt.Errorf("begin the cursor %s: %w", name, err)
	}
	return p.LoadCursor(ctx, name)
}

// FurthestCursor returns the highest cursor of a stream's readers. A recreated
// stream has to be numbered from there: readers wait for messages behind their
// cursors, and records skip numbers that they have passed.
func (p *Pipeline) FurthestCursor(ctx context.Context, stream string) (uint64, error) {
	var names []string
	switch stream {
	case StreamONE:
		names = []string{RouterKey}
	case StreamWork:
		names = Keys()[:Partitions]
	case StreamFlow:
		names = []string{WebhooksCursor}
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

// stampKey is the key in BucketCheckpoint of the zone that all of the data belongs to. It is in the other stamped buckets as well: who purges one
// removes it, and nobody else does.
const stampKey = "zone"

// stamped are the buckets that have a stamp. In the others it would expire.
var stamped = []string{BucketCheckpoint, BucketState, BucketOwners}

// stamp identifies the data.
type stamp struct {
	Version int       `json:"v"`
	Zone    int       `json:"zone"`
	Since   time.Time `json:"since"`
}

// CheckZone returns ErrOtherZone if the data is not the configured zone's, and stamps data that
// has no zone yet if the role may.
func (p *Pipeline) CheckZone(ctx context.Context, role Role) error {
	mayStamp := role == "" || role == RoleAll || role == RoleWorker || role == RoleOperator
	checkpoints := p.Bucket(BucketCheckpoint)
	text, revision, err := checkpoints.Get(ctx, stampKey)
	if err == nil && revision == 0 && mayStamp {
		if _, err = p.stampBucket(ctx, BucketCheckpoint); js.Conflict(err) {
			text, _, err = checkpoints.Get(ctx, stampKey)
		} else if err == nil {
			err = p.noteLostCursors(ctx)
		}
	}
	held := stamp{Zone: p.zone}
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

// StampBuckets stamps the buckets whose stamps are missing according to their extents, and notes it there.
func (p *Pipeline) StampBuckets(ctx context.Context, extents map[string]Extent) error {
	for _, bucket := range stamped {
		extent := extents[StreamOf(bucket)]
		if extent.Stamp > 0 {
			continue
		}
		var err error
		if extent.Stamp, err = p.stampBucket(ctx, bucket); err != nil && !js.Conflict(err) {
			return fmt.Errorf("stamp bucket %s: %w", bucket, err)
		}
		extents[StreamOf(bucket)] = extent
	}
	return nil
}

func (p *Pipeline) stampBucket(ctx context.Context, bucket string) (revision uint64, err error) {
	return p.Bucket(bucket).Create(ctx, stampKey, Encode(stamp{Version: Version, Zone: p.zone, Since: time.Now().UTC()}))
}

// noteLostCursors records for operators that BucketCheckpoint was lost: there are records, but no cursor. The readers begin anew, and records skip
// the messages that they have handled.
func (p *Pipeline) noteLostCursors(ctx context.Context) error {
	cursor, err := p.FurthestCursor(ctx, StreamWork)
	records, failed := p.Extent(ctx, StreamOf(BucketState))
	if err = cmp.Or(err, failed); err != nil || cursor > 0 || records.Last == 0 {
		return err
	}
	p.Log().Error("NATS has lost the readers' cursors: all messages are read again, and what was handled is skipped", "stream", StreamOf(BucketCheckpoint))
	return p.NoteMismatch(ctx, "all messages are read again, because NATS has lost streams or messages of them: "+StreamOf(BucketCheckpoint))
}

// Note is the key of a value in BucketCheckpoint that shows whether the data and oned, and the streams among themselves, belong together.
type Note[T any] string

// The notes in BucketCheckpoint.
const (
	// OnedNote recognises oned's database, and EventNote the event that the router read last.
	OnedNote  Note[OnedMark]  = "oned"
	EventNote Note[EventMark] = "event"
	// ExtentsNote has the streams' extents, by which it is recognised after a restart that one was lost or cut off.
	ExtentsNote  Note[map[string]Extent] = "extents"
	mismatchNote Note[Mismatch]          = "mismatch"
)

// Load returns the value, and when it was stored; the zero value and time if there is none, or it cannot be read.
func (n Note[T]) Load(ctx context.Context, p *Pipeline) (value T, stored time.Time, err error) {
	defer errs.Wrap(&err, "read the key %s of %s", n, BucketCheckpoint)
	text, revision, stored, err := p.Bucket(BucketCheckpoint).GetDated(ctx, string(n))
	if revision == 0 || json.Unmarshal(text, &value) != nil {
		return *new(T), time.Time{}, err
	}
	return value, stored, nil
}

// Save stores the value.
func (n Note[T]) Save(ctx context.Context, p *Pipeline, value T) (err error) {
	defer errs.Wrap(&err, "write the key %s of %s", n, BucketCheckpoint)
	return p.Bucket(BucketCheckpoint).Put(ctx, string(n), Encode(value))
}

// EventMark is an event that was read, by which it is recognised after a restart that StreamONE has lost its end and has grown as long again.
type EventMark struct {
	Version int `json:"v"`
	// Sequence is the event's in the stream, 0 for no event, and Stored when the stream stored it.
	Sequence uint64    `json:"sequence"`
	Stored   time.Time `json:"stored"`
}

// OnedMark is a VM by which oned's database is recognised: a database that was restored from a
// backup, or is another oned's, does not have it, or has another VM of that id.
type OnedMark struct {
	Version int `json:"v"`
	// VM is the newest known VM, -1 for none, and Made its STIME.
	VM   int    `json:"vm"`
	Made string `json:"made,omitempty"`
	// Restored is when a different database was found. Records from before
	// that are believed only if oned's documents agree.
	Restored time.Time `json:"restored,omitzero"`
}

// Mismatch is the last time at which data and oned were found not to belong together, by NATS's clock.
type Mismatch struct {
	Version int       `json:"v"`
	Found   time.Time `json:"found"`
	Reason  string    `json:"reason"`
}

// LastMismatch returns the mismatch that NoteMismatch stored last; false if there is none.
func (p *Pipeline) LastMismatch(ctx context.Context) (mismatch Mismatch, has bool, err error) {
	mismatch, mismatch.Found, err = mismatchNote.Load(ctx, p)
	return mismatch, !mismatch.Found.IsZero(), err
}

// NoteMismatch stores a mismatch for operators.
func (p *Pipeline) NoteMismatch(ctx context.Context, reason string) error {
	return mismatchNote.Save(ctx, p, Mismatch{Version: Version, Found: time.Now().UTC(), Reason: reason})
}
