package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

const (
	day = 24 * time.Hour

	keepEvents   = 3 * day
	keepWork     = 7 * day
	keepHistory  = 90 * day
	keepDead     = 30 * day
	keepHooks    = 7 * day
	keepCommands = day

	// Each bounded stream loses its oldest messages when it is full. An event takes about 700 bytes: 2 GiB are three days of 12 a second. JetStream
	// reserves the bytes and refuses a stream for which it has no room; then a quarter of it will do, down to leastBytes.
	eventBytes   = 2 << 30
	historyBytes = 1 << 30
	deadBytes    = 128 << 20
	hookBytes    = 256 << 20
	leastBytes   = 16 << 20

	// Windows of de-duplication cost 134 bytes of memory a message id. Events come at 10,000/s in
	// bursts; transitions may be published again only after a take-over.
	eventWindow   = time.Minute
	workWindow    = 2 * time.Minute
	historyWindow = 10 * time.Minute
	deadWindow    = time.Minute
	hookWindow    = 10 * time.Minute
	bucketWindow  = time.Second // Buckets use no message ids.

	// hooksOfService is how many deliveries about one service may wait for one
	// receiver: a receiver that is down for long must not use the others' room.
	hooksOfService = 1000

	// MarkerTTL is how long the marker of a deleted key is kept.
	MarkerTTL = day
	// TombstoneTTL is how long the record of an ended service is kept: as long as an input for it may be read again.
	TombstoneTTL = keepWork
)

// BeyondCursors is how far a record may be ahead of its partition's cursor, and how far behind the cursors a renumbered stream continues.
const BeyondCursors = 1_000_000

// Streams returns the wanted configuration of every stream, and of those under the buckets.
func Streams(replicas int) []jetstream.StreamConfig {
	return append(streams(replicas), buckets(replicas)...)
}

func streams(replicas int) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			// No direct reads: a bridge that checks its lease must get a newer one, from the leader.
			Name: StreamONE, Description: "OpenNebula's events, in the order of each feed",
			Subjects: []string{SubjectsONE}, MaxAge: keepEvents, MaxBytes: eventBytes, Duplicates: eventWindow,
			Replicas: replicas, AllowAtomicPublish: true,
		},
		{
			// No MaxBytes: it would evict timers. No transform of flow.timer.>: the source pattern below does not match it, and a message that no
			// transform matches is stored unchanged. A schedule's target is transformed when it fires, as any message is (nats-server 2.15: the fired
			// message goes through processJetStreamMsg).
			Name: StreamWork, Description: "what wakes services, and their timers",
			Subjects: []string{SubjectsWork, SubjectsTimer}, MaxAge: keepWork, MaxBytes: -1, Duplicates: workWindow,
			Replicas: replicas, AllowDirect: true, AllowMsgSchedules: true, AllowMsgTTL: true, AllowRollup: true,
			AllowAtomicPublish: true,
			SubjectTransform: &jetstream.SubjectTransformConfig{
				Source:      SubjectsWork,
				Destination: fmt.Sprintf("flow.work.{{partition(%d,1)}}.{{wildcard(1)}}", Partitions),
			},
		},
		{
			Name: StreamFlow, Description: "what happened to services",
			Subjects: []string{SubjectsFlow}, MaxAge: keepHistory, MaxBytes: historyBytes, Duplicates: historyWindow,
			Replicas: replicas, AllowDirect: true, AllowAtomicPublish: true,
		},
		{
			// No direct reads: the next delivery is the oldest one that the leader has.
			// When the stream is full new messages are refused, not silently dropped.
			Name: StreamHook, Description: "what is to be delivered to webhooks",
			Subjects: []string{SubjectsHook}, MaxAge: keepHooks, MaxBytes: hookBytes, Duplicates: hookWindow,
			MaxMsgsPerSubject: hooksOfService, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
			Replicas: replicas, AllowAtomicPublish: true,
		},
		{
			Name: StreamDead, Description: "what could not be understood or done",
			Subjects: []string{SubjectsDead}, MaxAge: keepDead, MaxBytes: deadBytes, Duplicates: deadWindow,
			Replicas: replicas, AllowDirect: true, AllowAtomicPublish: true,
		},
	}
}

// buckets returns the wanted configuration of the stream under every bucket. It is nats.go's own layout, except for direct reads: those are answered
// by any replica, even if it lags behind, and then a worker finds an old record, or none, although it has just written one. Without them the leader
// answers (found on three servers).
func buckets(replicas int) []jetstream.StreamConfig {
	layout := []jetstream.StreamConfig{
		{Name: BucketState, Description: "services' records", SubjectDeleteMarkerTTL: MarkerTTL},
		{Name: BucketCheckpoint, Description: "readers' cursors"},
		{Name: BucketOwners, Description: "which service a VM belongs to", SubjectDeleteMarkerTTL: MarkerTTL},
		{Name: BucketHooks, Description: "webhook deliveries that have failed", MaxAge: keepHooks},
		{Name: BucketCommands, Description: "commands and their outcome", MaxAge: keepCommands},
	}
	for i := range layout {
		bucket := &layout[i]
		bucket.Subjects = []string{keys(bucket.Name)}
		bucket.Name = StreamOf(bucket.Name)
		bucket.MaxMsgsPerSubject, bucket.MaxBytes, bucket.Discard = 1, -1, jetstream.DiscardNew
		bucket.AllowRollup, bucket.DenyDelete = true, true
		bucket.AllowMsgTTL = bucket.SubjectDeleteMarkerTTL > 0
		bucket.Duplicates, bucket.Replicas = bucketWindow, replicas
		bucket.AllowAtomicPublish = bucket.Name == StreamOf(BucketOwners) || bucket.Name == StreamOf(BucketState)
	}
	return layout
}

// provisioner makes and finds the streams and buckets.
type provisioner struct{ *Pipeline }

// provision makes missing streams and extends those that are too small. Several processes may do so at once.
// The buckets come first: a recreated stream is numbered by the cursors in them.
func (p provisioner) provision(ctx context.Context, replicas int) error {
	if err := p.ensureStreams(ctx, buckets(replicas)); err != nil {
		return err
	}
	wanted := streams(replicas)
	// The largest last: if there is little room, those are made smaller.
	slices.SortStableFunc(wanted, func(a, b jetstream.StreamConfig) int { return cmp.Compare(a.MaxBytes, b.MaxBytes) })
	return p.ensureStreams(ctx, wanted)
}

// retry is js.Retry or awaitMaking.
type retry func(ctx context.Context, try func(context.Context) error) error

// find binds the existing streams and buckets. It appends the others to missing; if that is nil, it returns ErrNotProvisioned.
func (p provisioner) find(ctx context.Context, retry retry, missing []string) ([]string, error) {
	for _, name := range allStreams {
		err := retry(ctx, func(ctx context.Context) error { return p.Bind(ctx, name) })
		if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, js.ErrUnsettled) {
			if missing != nil {
				missing = append(missing, name)
				continue
			}
			err = ErrNotProvisioned
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", name, err)
		}
	}
	return missing, nil
}

func (p provisioner) ensureStreams(ctx context.Context, all []jetstream.StreamConfig) error {
	for _, wanted := range all {
		err := awaitMaking(ctx, func(ctx context.Context) error {
			err := p.Bind(ctx, wanted.Name)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				if err = p.createStream(ctx, wanted); p.mayNot("STREAM.CREATE."+wanted.Name, err) {
					return ErrNotProvisioned
				}
				// An earlier request of ours, whose answer was late, may have used the room.
				if bound := p.Bind(ctx, wanted.Name); err == nil || js.NoRoom(err) && bound == nil {
					err = bound
				}
			}
			if err != nil {
				return err
			}
			if err = p.extendStream(ctx, wanted); p.mayNot("STREAM.UPDATE."+wanted.Name, err) {
				return errNotExtended
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("stream %s: %w", wanted.Name, err)
		}
	}
	return nil
}

// errNotExtended is returned if a stream is of an older version and this role may not change it.
var errNotExtended = errors.New("it has to be extended by an operator: `flowjet nats provision`")

// mayNot reports whether a call failed because this process's user may not make it: NATS does not answer then. A refusal of
// another call is no reason to abandon a call to which NATS was only slow to answer.
func (p provisioner) mayNot(call string, err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && p.Forbidden(call)
}

// awaitMaking is js.Retry for parts that several processes make at once: on a cluster a stream that
// another process is just making is in use and not found at the same time.
func awaitMaking(ctx context.Context, try func(context.Context) error) error {
	missing := false
	err := js.Retry(ctx, func(ctx context.Context) error {
		err := try(ctx)
		if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) {
			missing = true
			return js.ErrUnsettled
		}
		return err
	})
	if missing && errors.Is(err, context.DeadlineExceeded) {
		return js.ErrUnsettled // the time has ended during a request: the cause is the missing stream
	}
	return err
}

// createStream makes a stream. Making an existing one with the same configuration succeeds; another process may be making it now.
func (p provisioner) createStream(ctx context.Context, wanted jetstream.StreamConfig) error {
	read, err := p.FurthestCursor(ctx, wanted.Name)
	if err == nil && wanted.Name == StreamWork { // the cursors may be lost as well
		err = p.Bucket(BucketState).Each(ctx, func(_ string, value []byte) {
			var record struct{ Applied uint64 }
			_ = json.Unmarshal(value, &record) // an unreadable one applies nothing
			read = max(read, record.Applied)
		})
	}
	if err != nil {
		return err
	}
	if read > 0 {
		p.Log().Warn("a stream was lost and is recreated", "stream", wanted.Name, "read_up_to", read)
		wanted.FirstSeq = read + BeyondCursors
	}
	for {
		created, err := p.JetStream().CreateStream(ctx, wanted)
		if err == nil && wanted.Replicas <= 1 {
			// A stream whose configuration was damaged on the disk is not loaded, and creating it leaves the damage (nats-server 2.15).
			_, err = p.JetStream().UpdateStream(ctx, created.CachedInfo().Config)
		}
		switch {
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
			return nil
		case !js.NoRoom(err) || wanted.MaxBytes/4 < leastBytes:
			return err
		}
		wanted.MaxBytes /= 4 // and not half: the streams that follow need room too
		p.Log().Warn("too little disk space for a stream: its limit is smaller", "stream", wanted.Name, "bytes", wanted.MaxBytes)
	}
}

// Extent is how far a stream goes.
type Extent struct {
	Made     time.Time `json:"made"`
	Messages uint64    `json:"messages"`
	First    uint64    `json:"-"`
	Last     uint64    `json:"last"`
	// Stored is when the last message was stored.
	Stored time.Time `json:"stored"`
	// Keep is how long a message is kept at least, 0 for always; below 0 it is deleted as soon as it was handled.
	Keep time.Duration `json:"-"`
	// Stamp is the revision of the stamp of a stamped bucket, 0 for none.
	Stamp uint64 `json:"stamp,omitempty"`
}

// Lacks reports whether a stream was made again since, or has lost its end.
func (e Extent) Lacks(before Extent) bool { return !e.Made.Equal(before.Made) || e.Last < before.Last }

// Purged reports whether all messages from before are gone, and nothing else can have removed them: the stamp is another one; or, of streams without a
// stamp, the newest has not expired and fewer have come since, so that those have not replaced them.
func (e Extent) Purged(before Extent) bool {
	if before.Stamp > 0 {
		return e.Stamp != before.Stamp
	}
	expired := e.Keep != 0 && time.Since(before.Stored) >= e.Keep
	return !expired && e.First > before.Last && e.Last-before.Last < before.Messages
}

// Extents returns those of the streams, and of those under buckets, and the names of the streams that NATS does not have any more.
func (p *Pipeline) Extents(ctx context.Context) (extents map[string]Extent, lost []string, err error) {
	extents = map[string]Extent{}
	for _, name := range allStreams {
		switch extent, err := p.Extent(ctx, name); {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			lost = append(lost, name)
		case err != nil:
			return nil, nil, err
		default:
			extents[name] = extent
		}
	}
	return extents, lost, nil
}

// Extent returns that of a stream.
func (p *Pipeline) Extent(ctx context.Context, name string) (extent Extent, err error) {
	defer errs.Wrap(&err, "ask how far stream %s goes", name)
	info, err := p.Stream(name).Led(ctx)
	if err != nil {
		return Extent{}, err
	}
	state, keep := info.State, cmp.Or(info.Config.MaxAge, info.Config.SubjectDeleteMarkerTTL)
	if name == StreamHook || name == StreamDead {
		keep = -1
	}
	extent = Extent{info.Created, state.Msgs, state.FirstSeq, state.LastSeq, state.LastTime, keep, 0}
	if bucket := strings.TrimPrefix(name, js.BucketPrefix); slices.Contains(stamped, bucket) {
		_, extent.Stamp, err = p.Bucket(bucket).Get(ctx, stampKey)
	}
	return extent, err
}

// RecreateStreams makes lost streams again, as they were configured, and stamps the data again. It returns ErrNotProvisioned if this process may make
// none of them.
func (p *Pipeline) RecreateStreams(ctx context.Context, lost []string) error {
	if p.bound && len(lost) > 0 {
		return ErrNotProvisioned
	}
	others := slices.DeleteFunc(slices.Clone(lost), IsBucket) // numbered by the cursors in the buckets
	buckets := slices.DeleteFunc(slices.Clone(lost), func(name string) bool { return !IsBucket(name) })
	for _, name := range append(buckets, others...) {
		config := p.Stream(name).Config()
		config.FirstSeq = 0
		if err := (provisioner{p}).createStream(ctx, config); err != nil {
			return fmt.Errorf("recreate stream %s: %w", name, js.Explain(err))
		}
	}
	return p.CheckZone(ctx, RoleWorker) // a new bucket of cursors has no stamp
}

// extendStream extends a bound stream to the wanted configuration. Larger values of an operator stay; no stored message is lost. The number of bytes
// stays: in a cluster the servers agree on a change before each checks its disk, and a server without the room then has no copy of the stream any
// more (nats-server 2.15).
func (p provisioner) extendStream(ctx context.Context, wanted jetstream.StreamConfig) error {
	has := p.Stream(wanted.Name).Config()
	merged := has
	merged.Subjects = slices.Clone(has.Subjects)
	for _, subject := range wanted.Subjects {
		if !slices.Contains(merged.Subjects, subject) {
			merged.Subjects = append(merged.Subjects, subject)
		}
	}
	if merged.MaxAge = max(has.MaxAge, wanted.MaxAge); min(has.MaxAge, wanted.MaxAge) <= 0 {
		merged.MaxAge = min(has.MaxAge, wanted.MaxAge) // 0 and less mean no limit
	}
	merged.Duplicates = max(has.Duplicates, wanted.Duplicates)
	merged.Replicas = max(has.Replicas, wanted.Replicas)
	merged.AllowDirect = wanted.AllowDirect
	merged.AllowAtomicPublish = has.AllowAtomicPublish || wanted.AllowAtomicPublish
	merged.AllowMsgSchedules = has.AllowMsgSchedules || wanted.AllowMsgSchedules
	merged.AllowMsgTTL = has.AllowMsgTTL || wanted.AllowMsgTTL
	merged.AllowRollup = has.AllowRollup || wanted.AllowRollup
	if wanted.SubjectTransform != nil {
		merged.SubjectTransform = wanted.SubjectTransform
	}
	if reflect.DeepEqual(merged, has) {
		return nil
	}
	if _, err := p.JetStream().UpdateStream(ctx, merged); err != nil {
		return err
	}
	p.Log().Info("extended a stream", "stream", wanted.Name)
	return p.Bind(ctx, wanted.Name)
}
