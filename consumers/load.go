package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// checkDatabase has all be loaded anew that is known from another database of oned's.
func (l *loader) checkDatabase(ctx context.Context) error {
	restored, life, err := l.worker.database.since(ctx)
	if restored.After(l.at) {
		l.loaded = false
	}
	l.life = life
	return err
}

// withinLife binds what may end something, and what is written, to the life of oned in which
// it was decided on: by the next call oned may have another database.
func (l *loader) withinLife(ctx context.Context) context.Context {
	return opennebula.Within(ctx, l.life)
}

// sureOfDatabase asks oned whether its database is the one of what is known; if it is not, all
// is to be loaded anew.
func (l *loader) sureOfDatabase(ctx context.Context) error {
	if err := l.worker.database.doubt(ctx); err != nil {
		return err
	}
	if l.worker.database.restoredAt().After(l.at) {
		return fmt.Errorf("service %d was planned with data of another database of oned: %w", l.service, pipeline.ErrConflict)
	}
	return nil
}

// load fetches everything known of the service: the record, the document and
// the VMs. What a former owner left unfinished is part of it.
func (l *loader) load(ctx context.Context) error {
	if err := l.checkDatabase(ctx); err != nil {
		return err
	}
	if l.loaded {
		return nil
	}
	l.at = time.Now()
	record, revision, err := l.worker.pipe.LoadRecord(ctx, l.service)
	if err != nil {
		return fmt.Errorf("load the record of service %d: %w", l.service, err)
	}
	l.record, l.revision, l.facts = record, revision, flow.Facts{}
	l.saver.openRecord()
	l.saver.published = l.record.State
	l.finder.searched = search{}
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
	if err := l.ingester.refreshFacts(ctx); err != nil {
		return err
	}
	if err := l.saver.resend(ctx); err != nil {
		return err
	}
	l.loaded = true
	return nil
}

// doubtCalls: the former owner may have made any call that it had committed to,
// or none. Each VM is looked for before it is created, and one that was to end
// is asked again.
func (l *loader) doubtCalls() {
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
func (l *loader) refreshDocument(ctx context.Context) error {
	l.read = time.Now()
	var found foundDocument
	var err error
	if l.revision == 0 && l.made != nil {
		found = *l.made
	} else {
		found, err = l.readDocument(ctx, l.actor.server())
	}
	if errors.Is(err, errUnreadable) {
		found, err = l.readDocument(ctx, l.actor.server().Confirmed())
	}
	if errors.Is(err, errUnreadable) && l.rewrites {
		found, err = l.rewrite(ctx, err)
	}
	if err == nil && found.exists && l.revision != 0 && (found.digest != l.record.Saved || l.predates(found.digest)) {
		if err := l.worker.database.doubt(ctx); err != nil {
			return err
		}
		if !l.isOurs(found.digest) {
			found, err = l.readDocument(ctx, l.actor.server().Confirmed())
		}
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
	if err := l.actor.actAs(ctx, found.owner); err != nil {
		return err
	}
	if found.digest != l.record.Saved && len(found.repairs) > 0 {
		l.worker.config.Logger.Warn("the service's document is inconsistent and is repaired", "service", l.service, "repairs", found.repairs)
		found.body = found.body.Noted(found.repairs, time.Now())
	}
	switch {
	case l.revision == 0:
		state.Service.Body = found.body
		l.record.Saved = found.digest
	case l.isOurs(found.digest):
		// Where an earlier owner saved late what it had decided, ours is saved again.
		l.record.Saved = found.digest
	case found.digest != l.record.Saved, l.predates(found.digest):
		if reason, since := l.ofAnotherTime(found); reason != "" {
			l.forgetRecord(reason, since)
			l.record.State.Service = spec.Service{ID: l.service, Owner: found.owner, Body: found.body}
			l.record.Saved = found.digest
			return nil
		}
		l.worker.config.Logger.Info("the document was changed by another program and is used as it is", "service", l.service)
		state.Service.Body = found.body
		l.record.Saved = found.digest
	}
	return nil
}

// foundDocument is a service's document as oned shows it. The body of one that is ours
// to the letter is not read.
type foundDocument struct {
	exists bool
	owner  one.Identity
	digest string
	body   spec.Body
	// repairs are what was put right in the body.
	repairs []string
}

func (l *loader) readDocument(ctx context.Context, session *opennebula.Session) (foundDocument, error) {
	document, err := session.Document(ctx, l.service)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return foundDocument{}, nil
	case err != nil:
		return foundDocument{}, fmt.Errorf("read the document of service %d: %w", l.service, err)
	case document.Type != spec.DocumentTypeService:
		return foundDocument{}, nil
	}
	found := foundDocument{exists: true, owner: document.Owner, digest: spec.DigestOf(document.Body)}
	if l.isOurs(found.digest) {
		return found, nil
	}
	if found.body, found.repairs, err = spec.ReadService(document.Body); err != nil {
		return found, l.unreadable(err)
	}
	if len(found.repairs) == 0 { // else what oned holds is not what the body is written as
		found.digest = found.body.Digest()
	}
	return found, nil
}

// isOurs reports whether what has the digest was decided on here or by an earlier owner.
func (l *loader) isOurs(digest string) bool {
	return l.revision != 0 && !l.predates(digest) && (slices.Contains(l.record.Digests, digest) || digest == l.record.State.Service.Body.Digest())
}

// followLeader notes who leads the zone. A change is committed while the service waits:
// which of its VMs may have been left behind depends on when it was. A service that waits
// was looked at not long ago: where this process has not seen the change, it was since then.
func (l *loader) followLeader() {
	term, since := l.worker.oned.Leadership()
	before, waits := l.record.State.Leader, l.record.State.Service.State().Waiting()
	if since.IsZero() && waits {
		since = time.Now()
	}
	l.record.State = flow.Lead(l.record.State, term, since)
	l.led = l.led || l.record.State.Leader != before && waits
}

// A document that another program has made unreadable is left alone, and so are its service's
// VMs, until somebody corrects it, or recovers the service: then it is written as the record
// has it.

// errUnreadable marks an input for a service whose document cannot be read.
var errUnreadable = fmt.Errorf("%w", errPoison)

// unreadable is the error of a document that cannot be read, with what corrects it.
func (l *loader) unreadable(err error) error {
	way := "correct it at oned: docs/troubleshooting.md"
	if l.isRecorded() {
		way = fmt.Sprintf("`oneflow recover %d` writes it as Flowjet has it", l.service)
	}
	return fmt.Errorf("%w: service %d: %w; %s", errUnreadable, l.service, err, way)
}

// isRecorded reports whether the record has the service's body, of the database that oned has.
func (l *loader) isRecorded() bool {
	return l.revision != 0 && !l.record.Deleted && l.record.State.Service.Body.State != nil && !l.record.Written.Before(l.worker.database.restoredAt())
}

// asksToRewrite reports whether the command asks for an unreadable document to be written.
func asksToRewrite(command flow.Command) bool {
	var arguments flow.RecoverArguments
	return command.Verb == flow.VerbRecover && (len(command.Arguments) == 0 || json.Unmarshal(command.Arguments, &arguments) == nil) && !arguments.Delete
}

// rewrite writes the document as the record has it, if the zone's leader cannot read it either,
// and reads it again.
func (l *loader) rewrite(ctx context.Context, reason error) (foundDocument, error) {
	text, err := l.record.State.Service.Body.Text()
	if err != nil || !l.isRecorded() {
		return foundDocument{}, reason
	}
	l.worker.config.Logger.Warn("the service's document cannot be read and is written as the record has it", "service", l.service, "error", reason)
	if err := l.actor.server().UpdateDocument(l.withinLife(ctx), l.service, text); err != nil {
		return foundDocument{}, fmt.Errorf("write the document of service %d again: %w", l.service, err)
	}
	l.rewritten = true
	return l.readDocument(ctx, l.actor.server().Confirmed())
}
