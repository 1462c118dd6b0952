package consumers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// load fetches everything known of the service: the record, the document and
// the VMs. What a former owner left unfinished is part of it.
func (l *lane) load(ctx context.Context) error {
	if l.loaded {
		return nil
	}
	record, revision, err := l.worker.pipe.LoadRecord(ctx, l.service)
	if err != nil {
		return fmt.Errorf("load the record of service %d: %w", l.service, err)
	}
	l.record, l.revision, l.facts, l.told = record, revision, flow.Facts{}, record.State
	l.searched = search{}
	if record.Deleted {
		l.exists, l.loaded = false, true
		return nil
	}
	if err := l.refreshDocument(ctx); err != nil {
		return err
	}
	if !l.exists {
		l.loaded = true
		return nil
	}
	l.doubtCalls()
	if err := l.refreshFacts(ctx); err != nil {
		return err
	}
	if err := l.resend(ctx); err != nil {
		return err
	}
	l.loaded = true
	return nil
}

// doubtCalls: the former owner may have made any call that it had committed to,
// or none. Each VM is looked for before it is created, and one that was to end
// is asked again.
func (l *lane) doubtCalls() {
	state := &l.record.State
	for i := range state.Intents {
		state.Intents[i].Attempts = max(1, state.Intents[i].Attempts)
	}
	*state = flow.DoubtRequests(*state)
}

// refreshDocument reads the document and holds it against the record. Whose
// text it is decides: ours as last saved or decided, one of ours that a former
// owner saved too late, or somebody else's, which then is the truth.
func (l *lane) refreshDocument(ctx context.Context) error {
	l.read = time.Now()
	document, err := l.server().Document(ctx, l.service)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		l.exists = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the document of service %d: %w", l.service, err)
	}
	if document.Type != flow.DocumentTypeService {
		l.exists = false
		return nil
	}
	var body flow.Body
	found := flow.DigestOf(document.Body)
	if !l.isOurs(found) { // most often it is, to the letter, and need not be read
		if body, err = flow.ParseBody(document.Body); err != nil {
			return fmt.Errorf("%w: service %d: %w", errPoison, l.service, err)
		}
		found = body.Digest()
	}
	l.exists = true
	state := &l.record.State
	state.Service.ID = l.service
	state.Service.Owner = document.Owner
	switch {
	case l.revision == 0:
		state.Service.Body = body
		l.record.Saved = found
	case l.isOurs(found):
		// Where an earlier owner saved late what it had decided, ours is saved again.
		l.record.Saved = found
	case found != l.record.Saved:
		l.worker.config.Logger.Info("the document was changed by somebody else: it is taken as it is", "service", l.service)
		state.Service.Body = body
		l.record.Saved = found
	}
	return nil
}

// isOurs says that what has the digest was decided on here or by an earlier owner.
func (l *lane) isOurs(digest string) bool {
	return l.revision != 0 && (slices.Contains(l.record.Digests, digest) || digest == l.record.State.Service.Body.Digest())
}

// resend finds out what of the last commit was not told, and has its timers set
// again: the next flush does both.
func (l *lane) resend(ctx context.Context) error {
	outbox := &l.record.Outbox
	if len(outbox.Transitions) > 0 {
		told, err := l.worker.pipe.LastTransition(ctx, l.service)
		if err != nil {
			return fmt.Errorf("find the last told transition of service %d: %w", l.service, err)
		}
		for len(outbox.Transitions) > 0 && outbox.First <= told {
			outbox.Transitions = outbox.Transitions[1:]
			outbox.First++
		}
	}
	l.dirtyTimers = map[string]bool{}
	for name := range l.record.Timers {
		l.dirtyTimers[name] = true
	}
	return nil
}

func (l *lane) setTimer(ctx context.Context, name string, timer pipeline.TimerState) error {
	err := l.worker.pipe.SetTimer(ctx, l.service, pipeline.Timer{Name: name, Generation: timer.Generation, Due: timer.Due})
	if err != nil {
		return fmt.Errorf("set the timer %s of service %d: %w", name, l.service, err)
	}
	return nil
}
