package consumers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// saver makes decisions durable, and brings them outside: into the document, the
// history and the timers.
type saver struct {
	*serviceLoop
	// confirmed is when the revision was last known to be the newest.
	confirmed time.Time
	// told is the state whose networks and routers the history has.
	published flow.State
	// open are the inputs that are handled but whose outcome is not flushed.
	open []uint64
	// behind is since when the document does not say what the record does, and stored the
	// digest of the body that was committed last.
	behind writeBehind
	stored string
	// dirtyTimers are the timers that differ from what NATS was last told.
	dirtyTimers map[string]bool
}

// commit makes a decision durable. Where nothing was decided there is nothing
// to commit: the input is read again after a crash, and decides nothing again. A
// service that was never committed is all the same: what has no record, no
// operator is shown.
func (s *saver) commit(ctx context.Context, decision flow.Decision, must bool) error {
	decision.State.Intents = s.withFloors(decision.State.Intents)
	if !must && !s.led && s.revision != 0 && len(decision.Changes) == 0 && !s.unarmed(decision.State) && sameState(decision.State, s.record.State) {
		return nil
	}
	s.record.State = decision.State
	s.record.Outbox.Webhooks = spec.Webhooks(decision.State.Service.Body)
	s.addNodeTransitions()
	s.addTransitions(decision.Changes, flow.Describe(decision.Actions))
	s.setDueTimers()
	return s.store(ctx)
}

// store writes the record; it fails if anybody else has written it since.
func (s *saver) store(ctx context.Context) error {
	s.record.Version = pipeline.Version
	s.keepDigest()
	s.addNodeTransitions()
	revision, err := s.saveRecord(ctx)
	if err != nil {
		return fmt.Errorf("commit service %d: %w", s.service, err)
	}
	s.revision, s.confirmed, s.led = revision, time.Now(), false
	s.record.Written = s.confirmed
	s.published = s.record.State
	if s.stored = s.record.Digests[len(s.record.Digests)-1]; s.exists && s.stored != s.record.Saved {
		s.behind.begin(s.record.State.Service.State())
	}
	s.worker.metrics.commits.Inc()
	return nil
}

// lastAnswer is how much longer than its worker a commit waits for its answer.
const lastAnswer = 500 * time.Millisecond

// saveRecord waits for the disk: by itself where somebody waits for an answer, else with
// the records of others, and lets others work meanwhile. A worker that is stopped waits for
// the answer all the same: it has the document written that follows.
func (s *saver) saveRecord(ctx context.Context) (revision uint64, err error) {
	ctx, cancel := outlast(ctx, lastAnswer)
	defer cancel()
	if s.partition.isUrgent(s.serviceLoop) {
		return s.worker.pipe.SaveRecordNow(ctx, s.service, s.sealedRecord(), s.revision)
	}
	err = s.slot.whileOthersWork(ctx, func() (err error) {
		revision, err = s.worker.pipe.SaveRecord(ctx, s.service, s.sealedRecord(), s.revision)
		return err
	})
	return revision, err
}

// outlast returns a context that ends so much later than ctx.
func outlast(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(by, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}

// keptDigests bounds how many bodies a late worker may be behind.
const keptDigests = 64

func (s *saver) keepDigest() {
	decided := s.record.State.Service.Body.Digest()
	if digests := s.record.Digests; len(digests) > 0 && digests[len(digests)-1] == decided {
		return
	}
	s.record.Digests = append(s.record.Digests, decided)
	s.record.Digests = s.record.Digests[max(0, len(s.record.Digests)-keptDigests):]
}

// keepSaved keeps the digest of what oned holds until now, however long ago it was decided
// and the first text too: a leader that has lost the zone may acknowledge a write that the
// zone then does not have, and the document is as before.
func (s *saver) keepSaved() {
	digests := s.record.Digests
	if s.record.Saved == "" || len(digests) == 0 {
		return
	}
	digests = slices.DeleteFunc(slices.Clone(digests), func(digest string) bool { return digest == s.record.Saved })
	s.record.Digests = slices.Insert(digests, max(0, len(digests)-1), s.record.Saved) // the last is that of the record
}

// trustCommit is for how long after a commit no other worker can have taken the
// service over: less than the silence after which a worker counts as dead.
const trustCommit = 500 * time.Millisecond

// stillOurs makes sure, before oned is told anything, that nobody else has
// committed since we did. A worker that was suspended for longer than its lease
// finds out here, and does nothing more.
func (s *saver) stillOurs(ctx context.Context) error {
	if time.Since(s.confirmed) < trustCommit {
		return nil
	}
	revision, err := s.worker.pipe.RecordRevision(ctx, s.service)
	if err != nil {
		return fmt.Errorf("check that service %d is still owned: %w", s.service, err)
	}
	if revision != s.revision {
		return fmt.Errorf("service %d was taken over by another worker: %w", s.service, pipeline.ErrConflict)
	}
	s.confirmed = time.Now()
	return nil
}

// withFloors notes on new intents which VM ids were in use when they were made.
// An older intent keeps its own: its VM may be among those that came since.
func (s *saver) withFloors(intents []flow.Intent) []flow.Intent {
	known := map[string]bool{}
	for _, intent := range s.record.State.Intents {
		known[intent.Key] = true
	}
	for i := range intents {
		if !known[intents[i].Key] {
			intents[i].Floor = int(s.worker.database.highest.Load())
		}
	}
	return intents
}

// sameState reports whether what was decided is stored already. A stay that has ended
// since is no reason to store: a VM that runs is not written about by itself.
func sameState(a, b flow.State) bool {
	if !slices.ContainsFunc(slices.Collect(maps.Keys(a.Stays)), func(vm int) bool { return a.Stays[vm] != b.Stays[vm] }) {
		b.Stays = a.Stays
	}
	if reflect.DeepEqual(a, b) {
		return true
	}
	left, leftErr := json.Marshal(a)
	right, rightErr := json.Marshal(b)
	return leftErr == nil && rightErr == nil && bytes.Equal(left, right)
}

// saveEarly saves the document before a command is answered: who is told that
// something was changed reads it changed, in oned too.
func (s *saver) saveEarly(ctx context.Context, told bool) error {
	if told {
		return s.saveDocument(ctx)
	}
	return s.writeIfDue(ctx)
}

// flush brings outside what is committed: the document is saved in time, what happened
// is told, and the timers are set. A service loop that lost its state on the way loads
// it first, which finds what is left to be done. Unless all is forced, an input
// that comes meanwhile goes first; flush then is not complete.
func (s *saver) flush(ctx context.Context, all bool) (complete bool, err error) {
	if err := s.loader.load(ctx); err != nil {
		return false, err
	}
	if !all && s.waiting() {
		return false, nil
	}
	mayEnd, err := s.writeInTime(ctx, all)
	if err != nil {
		return false, err
	}
	if s.nextFlush() != nil {
		defer s.slot.lend()()
		if !all {
			s.awaitNext(ctx)
		}
	}
	for {
		if !all && s.waiting() {
			return false, nil
		}
		step := s.nextFlush()
		if step == nil {
			return mayEnd, nil
		}
		if err := step(ctx); err != nil {
			return false, err
		}
	}
}

// nextFlush is what is to be told or set next, nil when nothing is. The document
// comes before, since clients read it.
func (s *saver) nextFlush() func(context.Context) error {
	if len(s.record.Outbox.Transitions) > 0 {
		return s.publishNext
	}
	for name := range s.dirtyTimers {
		return func(ctx context.Context) error {
			if err := s.syncTimer(ctx, name); err != nil {
				return err
			}
			delete(s.dirtyTimers, name)
			return nil
		}
	}
	return nil
}

// saveDocument writes the document unless it is what was written last.
func (s *saver) saveDocument(ctx context.Context) error {
	text, err := s.record.State.Service.Body.Text()
	if err != nil {
		return fmt.Errorf("%w: service %d: write the document: %w", errPoison, s.service, err)
	}
	wanted := spec.DigestOf(text)
	if wanted == s.record.Saved {
		s.behind.end()
		return nil
	}
	if err := s.stillOurs(ctx); err != nil {
		return err
	}
	err = s.actor.server().UpdateDocument(s.loader.withinLife(ctx), s.service, text)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		s.exists = false // somebody has deleted it: the next input finds out what that means
		s.loaded = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("save the document of service %d: %w", s.service, err)
	}
	s.keepSaved()
	s.record.Saved = wanted
	s.behind.wrote(s.record.State.Service.State())
	return nil
}

// tombstone ends a service whose document is gone. Its record stays as a
// tombstone, so that VMs which come too late are known for what they are.
func (s *saver) tombstone(ctx context.Context) error {
	owner := s.record.State.Service.Owner
	s.record.State = flow.State{Service: spec.Service{ID: s.service, Owner: owner}}
	s.record.Saved, s.record.Ended = "", time.Now().UTC()
	s.exists = false
	s.published = s.record.State // what is left of networks is nobody's any more
	s.addTransitions([]flow.Change{{Kind: "service", New: "DELETED"}}, nil)
	s.setDueTimers()
	return s.store(ctx)
}

// storeOrUndo commits what was made. A worker that has been overtaken meanwhile
// may have made it for a service that has ended since: nobody else will ever
// look for it, so it is undone.
func (s *saver) storeOrUndo(ctx context.Context, what string, id int, undo func(context.Context, int) error) error {
	err := s.store(ctx)
	if !errors.Is(err, pipeline.ErrConflict) {
		return err
	}
	record, _, loadErr := s.worker.pipe.LoadRecord(ctx, s.service)
	if loadErr != nil || !record.Deleted {
		return errors.Join(err, loadErr)
	}
	s.worker.config.Logger.Warn("created after its service had ended, and deleted", "service", s.service, "kind", what, "id", id)
	return errors.Join(err, undo(s.loader.withinLife(ctx), id))
}

// endOpen lets the cursor pass what was handled.
func (s *saver) endOpen() {
	for _, sequence := range s.open {
		s.partition.cursor.ended(sequence)
	}
	s.open = s.open[:0]
}

// What users may have put secrets into is sealed where it is stored: in records and in
// commands. Workers and APIs open it with the server user's password.

// sealedRecord is the record as it is stored.
func (s *saver) sealedRecord() pipeline.Record {
	record := s.record
	record.State.Service.Body = record.State.Service.Body.Sealed(s.worker.box.Seal)
	return record
}

// openRecord opens a record that was read. One that was sealed with another password loses
// its body: the document is taken instead.
func (s *saver) openRecord() {
	body, err := s.record.State.Service.Body.Opened(s.worker.box.Open)
	if err != nil {
		s.worker.config.Logger.Warn("the service's record was sealed with another password of the server user: the document is used instead",
			"service", s.service, "error", err)
		body = spec.Body{StartTime: s.record.State.Service.Body.StartTime}
		s.record.Saved, s.record.Digests = "", nil
	}
	s.record.State.Service.Body = body
}
