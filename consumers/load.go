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
	l.record, l.revision, l.facts = record, revision, flow.Facts{}
	l.openRecord()
	l.told = l.record.State
	l.searched = search{}
	if record.Deleted {
		if err := l.checkTombstone(ctx); err != nil {
			return err
		}
	}
	if l.record.Deleted {
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
// owner saved too late, or somebody else's, which then is the truth. That it is
// somebody else's only the zone's leader is believed.
func (l *lane) refreshDocument(ctx context.Context) error {
	l.read = time.Now()
	found, err := l.readDocument(ctx, l.server())
	if err == nil && found.exists && l.revision != 0 && !l.isOurs(found.digest) && found.digest != l.record.Saved {
		found, err = l.readDocument(ctx, l.server().Confirmed())
	}
	if err != nil {
		return err
	}
	if l.exists = found.exists; !l.exists {
		return nil
	}
	state := &l.record.State
	state.Service.ID = l.service
	state.Service = state.Service.OwnedBy(found.owner, time.Now())
	if err := l.actAs(ctx, found.owner); err != nil {
		return err
	}
	switch {
	case l.revision == 0:
		state.Service.Body = found.body
		l.record.Saved = found.digest
	case l.isOurs(found.digest):
		// Where an earlier owner saved late what it had decided, ours is saved again.
		l.record.Saved = found.digest
	case found.digest != l.record.Saved && l.isAnother(found.body):
		l.forgetRecord("the document is another service's than the record")
		l.record.State.Service = flow.Service{ID: l.service, Owner: found.owner, Body: found.body}
		l.record.Saved = found.digest
	case found.digest != l.record.Saved:
		l.worker.config.Logger.Info("the document was changed by somebody else: it is taken as it is", "service", l.service)
		state.Service.Body = found.body
		l.record.Saved = found.digest
	}
	return nil
}

// foundDocument is a service's document as oned shows it. The body of one that is ours
// to the letter is not read.
type foundDocument struct {
	exists bool
	owner  flow.Identity
	digest string
	body   flow.Body
}

func (l *lane) readDocument(ctx context.Context, session *opennebula.Session) (foundDocument, error) {
	document, err := session.Document(ctx, l.service)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return foundDocument{}, nil
	case err != nil:
		return foundDocument{}, fmt.Errorf("read the document of service %d: %w", l.service, err)
	case document.Type != flow.DocumentTypeService:
		return foundDocument{}, nil
	}
	found := foundDocument{exists: true, owner: document.Owner, digest: flow.DigestOf(document.Body)}
	if l.isOurs(found.digest) {
		return found, nil
	}
	if found.body, err = flow.ParseBody(document.Body); err != nil {
		return found, fmt.Errorf("%w: service %d: %w", errPoison, l.service, err)
	}
	found.digest = found.body.Digest()
	return found, nil
}

// isOurs reports whether what has the digest was decided on here or by an earlier owner.
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
