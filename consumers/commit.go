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

// saver stores decisions, and publishes them: in the document, the history and the timers.
type saver struct {
	*serviceData
	slot *slot
	// confirmed is when the revision was last known to be the newest.
	confirmed time.Time
	// published is the state whose networks and routers are in the history.
	published flow.State
	// behind is when the document is to follow the record, stored is the digest of the last committed body.
	behind writeBehind
	stored string
	// text is the text of the last decided body.
	text bodyText
	// dirtyTimers are the timers that differ from NATS's.
	dirtyTimers map[string]bool
}

// bodyText is a service's body with its text: it is needed several times for each input. A service loop that rests keeps only the digest: most
// inputs change no body.
type bodyText struct {
	body   spec.Body
	text   []byte
	digest string
}

// bodyText returns the text of the decided body, and its digest.
func (s *saver) bodyText() (text []byte, digest string, err error) {
	if body := s.record.State.Service.Body; s.text.text == nil || !reflect.DeepEqual(body, s.text.body) {
		if text, err = body.Text(); err != nil {
			return nil, "", err
		}
		s.text = bodyText{body, text, spec.DigestOf(text)}
	}
	return s.text.text, s.text.digest, nil
}

// digest returns the digest of the decided body, empty if it cannot be written.
func (s *saver) digest() string {
	if s.text.digest != "" && reflect.DeepEqual(s.record.State.Service.Body, s.text.body) {
		return s.text.digest
	}
	_, digest, _ := s.bodyText()
	return digest
}

// commit stores a decision. An empty decision is not stored: the input is read again after a crash, and decides nothing again. The first
// decision on a service is always stored: operators are shown the services with a record.
func (s *saver) commit(ctx context.Context, decision flow.Decision, must bool) error {
	for i := range decision.State.Intents {
		// An older intent keeps its floor: its VM may be among those that came since.
		intent := &decision.State.Intents[i]
		if !slices.ContainsFunc(s.record.State.Intents, func(known flow.Intent) bool { return known.Key == intent.Key }) {
			intent.Floor = int(s.worker.database.highest.Load())
		}
	}
	if !must && s.isStored(decision) {
		return nil
	}
	s.record.State = decision.State
	s.record.Outbox.Webhooks, _ = spec.ReadWebhooks(decision.State.Service.Body) // none if they are invalid
	s.addTransitions(decision.Changes, flow.Describe(decision.Actions))
	s.setDueTimers()
	return s.store(ctx)
}

// isStored reports whether the decision is stored already, with a timer for each deadline. The end of a stay is no reason to store it: a
// running VM alone causes no write.
func (s *saver) isStored(decision flow.Decision) bool {
	if s.led || s.revision == 0 || len(decision.Changes) > 0 {
		return false
	}
	decided, stored := decision.State, s.record.State
	for name := range decided.Deadlines {
		if _, set := s.record.Timers[name]; !set {
			return false
		}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(decided.Stays)), func(vm int) bool { return decided.Stays[vm] != stored.Stays[vm] }) {
		stored.Stays = decided.Stays
	}
	if reflect.DeepEqual(decided, stored) {
		return true
	}
	left, leftErr := json.Marshal(decided)
	right, rightErr := json.Marshal(stored)
	return leftErr == nil && rightErr == nil && bytes.Equal(left, right)
}

const (
	// keptDigests bounds how many bodies a late worker may be behind.
	keptDigests = 64
	// lastAnswer is how much longer than its worker a commit waits for its answer.
	lastAnswer = 500 * time.Millisecond
)

// store writes the record; it fails if another worker has written it since. If no client waits it is stored with the records of others,
// which work meanwhile. A worker that is stopped waits for NATS's answer all the same, and then has the document written.
func (s *saver) store(ctx context.Context) error {
	decided := s.digest()
	if digests := s.record.Digests; len(digests) == 0 || digests[len(digests)-1] != decided {
		digests = append(digests, decided)
		s.record.Digests = digests[max(0, len(digests)-keptDigests):]
	}
	s.addTransitions(nil, nil)
	// Users' secrets are sealed in storage, here and in commands, with the server user's password.
	sealed := s.record
	sealed.State.Service.Body = sealed.State.Service.Body.Sealed(s.worker.box.Seal)
	answer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastAnswer, cancel) })()
	revision, save := s.revision, s.worker.pipe.SaveRecord
	if s.slot.urgent.Load() {
		save = s.worker.pipe.SaveRecordNow
	}
	err := s.slot.whileOthersWork(answer, func() (err error) {
		revision, err = save(answer, s.service, sealed, revision)
		return err
	})
	if err != nil {
		return err
	}
	s.revision, s.confirmed, s.led = revision, time.Now(), false
	if s.record.Written = s.confirmed; s.confirmed.Before(s.restored) { // this host's clock is behind NATS's
		s.record.Written = s.restored
	}
	if s.stored = decided; s.exists && s.stored != s.record.Saved {
		s.behind.begin(s.record.State.Service.State())
	}
	s.worker.metrics.commits.Inc()
	return nil
}

// trustCommit is how long after a commit no other worker can have taken the service over: less than the silence after which a worker counts
// as dead.
const trustCommit = 500 * time.Millisecond

// stillOurs makes sure, before any call to oned, that no other worker has committed since: a suspended worker stops here.
func (s *saver) stillOurs(ctx context.Context) error {
	if time.Since(s.confirmed) < trustCommit {
		return nil
	}
	revision, err := s.worker.pipe.RecordRevision(ctx, s.service)
	if err != nil {
		return err
	}
	if revision != s.revision {
		return fmt.Errorf("service %d was taken over by another worker: %w", s.service, pipeline.ErrConflict)
	}
	s.confirmed = time.Now()
	return nil
}

// saveDocument writes the document unless its text was the last written.
func (s *saver) saveDocument(ctx context.Context) error {
	if decided := s.digest(); decided != "" && decided == s.record.Saved {
		s.behind.due = time.Time{}
		return nil
	}
	text, wanted, err := s.bodyText()
	if err != nil {
		return fmt.Errorf("%w: service %d: write the document: %w", errPoison, s.service, err)
	}
	if err := s.stillOurs(ctx); err != nil {
		return err
	}
	err = s.worker.oned.Server().UpdateDocument(opennebula.Within(ctx, s.life), s.service, text)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		s.exists = false // it was deleted: the next input handles that
		s.loaded = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("save the document of service %d: %w", s.service, err)
	}
	// The former digest is kept: a leader that has lost the zone may acknowledge a write that the zone does not have.
	if digests := s.record.Digests; s.record.Saved != "" && len(digests) > 0 {
		digests = slices.DeleteFunc(slices.Clone(digests), func(digest string) bool { return digest == s.record.Saved })
		s.record.Digests = slices.Insert(digests, max(0, len(digests)-1), s.record.Saved) // the last is the record's
	}
	s.record.Saved = wanted
	s.behind.wrote(s.record.State.Service.State())
	return nil
}

// tombstone ends a service whose document is gone. Its record stays, to recognise its orphans.
func (s *saver) tombstone(ctx context.Context) error {
	owner := s.record.State.Service.Owner
	s.record.State = flow.State{Service: spec.Service{ID: s.service, Owner: owner}}
	s.record.Saved, s.record.Ended = "", time.Now().UTC()
	s.exists = false
	s.published = s.record.State // remaining networks belong to no service
	s.addTransitions([]flow.Change{{Kind: "service", New: "DELETED"}}, nil)
	s.setDueTimers()
	return s.store(ctx)
}

// storeOrUndo commits a new object. A worker that has been overtaken may have made it for a service that has ended since: nothing would
// ever look it up, so it is deleted.
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
	return errors.Join(err, undo(opennebula.Within(ctx, s.life), id))
}

// openRecord opens a record that was read. If it is sealed with another password, the document replaces it.
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

// A document follows its record: it is written when its service comes to rest, and when a client is answered. A new transient state is
// written within a second, so that close changes cost one write, and other changes once a minute. In that second its inputs have not ended:
// a worker that takes the service over reads them again, and writes.

const (
	// writeWithin is how long a document may name another state than its record, until its partition's next round and oned's write: a
	// second in all.
	writeWithin = 700 * time.Millisecond
	// writeEvery is the interval between writes that do not change the state.
	writeEvery = time.Minute
)

// writeBehind is when a document that is behind its record is to be written.
type writeBehind struct {
	// due is zero if the document is not behind.
	due time.Time
	// written is when the document was last known to be written, and shows is the service's state in it, also as it was last read.
	written time.Time
	shows   spec.ServiceState
}

// begin records that the document is behind a record with the state.
func (w *writeBehind) begin(state spec.ServiceState) {
	due := time.Now().Add(writeWithin)
	if next := w.written.Add(writeEvery); state == w.shows && next.After(due) {
		due = next
	}
	if w.due.IsZero() || due.Before(w.due) {
		w.due = due
	}
}

// wrote records that the document was written with the state.
func (w *writeBehind) wrote(state spec.ServiceState) {
	*w = writeBehind{written: time.Now(), shows: state}
}

// isDue reports whether the document is to be written now.
func (w *writeBehind) isDue() bool { return !w.due.IsZero() && !time.Now().Before(w.due) }

// isSoon reports whether the document is to be written within a second.
func (w *writeBehind) isSoon() bool { return !w.due.IsZero() && time.Until(w.due) <= writeWithin }

// writeIfDue writes the document between calls, unless the next one deletes it.
func (s *saver) writeIfDue(ctx context.Context) error {
	if !s.behind.isDue() || s.record.State.Service.State() == spec.ServiceDone {
		return nil
	}
	return s.saveDocument(ctx)
}
