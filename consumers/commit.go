package consumers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// commit makes a decision durable. Where nothing was decided there is nothing
// to commit: the input is read again after a crash, and decides nothing again. A
// service that was never committed is all the same: what has no record, no
// operator is shown.
func (l *lane) commit(ctx context.Context, decision flow.Decision, must bool) error {
	decision.State.Intents = l.withFloors(decision.State.Intents)
	if !must && !l.led && l.revision != 0 && len(decision.Changes) == 0 && !l.unarmed(decision.State) && sameState(decision.State, l.record.State) {
		return nil
	}
	l.record.State = decision.State
	l.record.Outbox.Webhooks = flow.Webhooks(decision.State.Service.Body)
	l.addNodeTransitions()
	l.addTransitions(decision.Changes, flow.Describe(decision.Actions))
	l.setDueTimers()
	return l.store(ctx)
}

// unarmed reports whether a deadline has no timer.
func (l *lane) unarmed(state flow.State) bool {
	for name := range state.Deadlines {
		if _, set := l.record.Timers[name]; !set {
			return true
		}
	}
	return false
}

// store writes the record; it fails if anybody else has written it since.
func (l *lane) store(ctx context.Context) error {
	l.record.Version = pipeline.Version
	l.keepDigest()
	l.addNodeTransitions()
	revision, err := l.saveRecord(ctx)
	if err != nil {
		return fmt.Errorf("commit service %d: %w", l.service, err)
	}
	l.revision, l.confirmed, l.led = revision, time.Now(), false
	l.told = l.record.State
	l.worker.metrics.commits.Inc()
	return nil
}

// saveRecord waits for the disk: by itself where somebody waits for an answer, else with
// the records of others, and lets others work meanwhile.
func (l *lane) saveRecord(ctx context.Context) (revision uint64, err error) {
	if l.partition.isUrgent(l) {
		return l.worker.pipe.SaveRecordNow(ctx, l.service, l.sealedRecord(), l.revision)
	}
	err = l.whileOthersWork(ctx, func() (err error) {
		revision, err = l.worker.pipe.SaveRecord(ctx, l.service, l.sealedRecord(), l.revision)
		return err
	})
	return revision, err
}

// keptDigests bounds how many bodies a late worker may be behind.
const keptDigests = 64

func (l *lane) keepDigest() {
	decided := l.record.State.Service.Body.Digest()
	if digests := l.record.Digests; len(digests) > 0 && digests[len(digests)-1] == decided {
		return
	}
	l.record.Digests = append(l.record.Digests, decided)
	l.record.Digests = l.record.Digests[max(0, len(l.record.Digests)-keptDigests):]
}

// trustCommit is for how long after a commit no other worker can have taken the
// service over: less than the silence after which a worker counts as dead.
const trustCommit = 500 * time.Millisecond

// stillOurs makes sure, before oned is told anything, that nobody else has
// committed since we did. A worker that was suspended for longer than its lease
// finds out here, and does nothing more.
func (l *lane) stillOurs(ctx context.Context) error {
	if time.Since(l.confirmed) < trustCommit {
		return nil
	}
	revision, err := l.worker.pipe.RecordRevision(ctx, l.service)
	if err != nil {
		return fmt.Errorf("make sure that service %d is still ours: %w", l.service, err)
	}
	if revision != l.revision {
		return fmt.Errorf("service %d was taken over: %w", l.service, pipeline.ErrConflict)
	}
	l.confirmed = time.Now()
	return nil
}

// withFloors notes on new intents which VM ids were in use when they were made.
// An older intent keeps its own: its VM may be among those that came since.
func (l *lane) withFloors(intents []flow.Intent) []flow.Intent {
	known := map[string]bool{}
	for _, intent := range l.record.State.Intents {
		known[intent.Key] = true
	}
	for i := range intents {
		if !known[intents[i].Key] {
			intents[i].Floor = int(l.worker.newest.Load())
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

// setDueTimers brings the record's timers up to the state's deadlines. The
// generation tells a timer that was replaced from the one that counts.
func (l *lane) setDueTimers() {
	timers := make(map[string]pipeline.TimerState, len(l.record.State.Deadlines))
	for name, due := range l.record.State.Deadlines {
		timer := l.record.Timers[name]
		if !timer.Due.Equal(due) {
			timer = pipeline.TimerState{Generation: l.nextGeneration(), Due: due}
		}
		timers[name] = timer
	}
	l.changedTimers(timers)
	l.record.Timers = timers
}

// nextGeneration never repeats for a service, even for a timer that was
// cancelled and set again.
func (l *lane) nextGeneration() uint64 {
	l.record.Generation++
	return l.record.Generation
}

// changedTimers remembers which timers are to be set or cancelled on NATS.
func (l *lane) changedTimers(timers map[string]pipeline.TimerState) {
	if l.dirtyTimers == nil {
		l.dirtyTimers = map[string]bool{}
	}
	for name, timer := range timers {
		if l.record.Timers[name] != timer {
			l.dirtyTimers[name] = true
		}
	}
	for name := range l.record.Timers {
		if _, kept := timers[name]; !kept {
			l.dirtyTimers[name] = true
		}
	}
}

// saveEarly saves the document before a command is answered: who is told that
// something was changed reads it changed. It is saved too as soon as the service's
// state has changed, so that nobody sees an old one for as long as the calls take. A
// command that waits behind an event comes first: what both lead to is saved at once.
func (l *lane) saveEarly(ctx context.Context, decision flow.Decision, answers bool) error {
	if answers {
		return l.saveDocument(ctx)
	}
	changed := slices.ContainsFunc(decision.Changes, func(change flow.Change) bool { return change.Kind == "service" })
	if !changed || len(decision.Actions) == 0 && l.partition.isUrgent(l) {
		return nil
	}
	return l.saveDocument(ctx)
}

// flush brings outside what is committed: the document is saved, what happened
// is told, and the timers are set. A lane that lost its state on the way loads
// it first, which finds what is left to be done. Unless all is forced, an input
// that comes meanwhile goes first; flush then is not complete.
func (l *lane) flush(ctx context.Context, all bool) (complete bool, err error) {
	if err := l.load(ctx); err != nil {
		return false, err
	}
	if !all && l.waiting() {
		return false, nil
	}
	if l.exists {
		if err := l.saveDocument(ctx); err != nil {
			return false, err
		}
	}
	if l.nextFlush() != nil {
		defer l.makeRoom()()
		if !all {
			l.lull(ctx)
		}
	}
	for {
		if !all && l.waiting() {
			return false, nil
		}
		step := l.nextFlush()
		if step == nil {
			return true, nil
		}
		if err := step(ctx); err != nil {
			return false, err
		}
	}
}

// nextFlush is what is to be told or set next, nil when nothing is. The document
// comes before, since clients read it.
func (l *lane) nextFlush() func(context.Context) error {
	if len(l.record.Outbox.Transitions) > 0 {
		return l.tellNext
	}
	for name := range l.dirtyTimers {
		return func(ctx context.Context) error {
			if err := l.syncTimer(ctx, name); err != nil {
				return err
			}
			delete(l.dirtyTimers, name)
			return nil
		}
	}
	return nil
}

func (l *lane) syncTimer(ctx context.Context, name string) error {
	if timer, set := l.record.Timers[name]; set {
		return l.setTimer(ctx, name, timer)
	}
	if err := l.worker.pipe.CancelTimer(ctx, l.service, name); err != nil {
		return fmt.Errorf("cancel the timer %s of service %d: %w", name, l.service, err)
	}
	return nil
}

// saveDocument writes the document unless it is what was written last.
func (l *lane) saveDocument(ctx context.Context) error {
	text, err := l.record.State.Service.Body.Text()
	if err != nil {
		return fmt.Errorf("%w: service %d: write the document: %w", errPoison, l.service, err)
	}
	wanted := flow.DigestOf(text)
	if wanted == l.record.Saved {
		return nil
	}
	if err := l.stillOurs(ctx); err != nil {
		return err
	}
	err = l.server().UpdateDocument(ctx, l.service, text)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		l.exists = false // somebody has deleted it: the next input finds out what that means
		l.loaded = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("save the document of service %d: %w", l.service, err)
	}
	l.record.Saved = wanted
	return nil
}

// bidFarewell ends a service whose document is gone. Its record stays as a
// tombstone, so that VMs which come too late are known for what they are.
func (l *lane) bidFarewell(ctx context.Context) error {
	owner := l.record.State.Service.Owner
	l.record.State = flow.State{Service: flow.Service{ID: l.service, Owner: owner}}
	l.record.Saved, l.record.Ended = "", time.Now().UTC()
	l.exists = false
	l.told = l.record.State // what is left of networks is nobody's any more
	l.addTransitions([]flow.Change{{Kind: "service", New: "DELETED"}}, nil)
	l.setDueTimers()
	return l.store(ctx)
}
