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

// checkDatabase has all be loaded anew that is known from another database of oned's.
func (i *ingester) checkDatabase(ctx context.Context) error {
	restored, life, err := i.worker.database.since(ctx)
	if restored.After(i.at) {
		i.loaded = false
	}
	i.life = life
	return err
}

// withinLife binds what may end something, and what is written, to the life of oned in which
// it was decided on: by the next call oned may have another database.
func (i *ingester) withinLife(ctx context.Context) context.Context {
	return opennebula.Within(ctx, i.life)
}

// sureOfDatabase asks oned whether its database is the one of what is known; if it is not, all
// is to be loaded anew.
func (i *ingester) sureOfDatabase(ctx context.Context) error {
	if err := i.worker.database.doubt(ctx); err != nil {
		return err
	}
	if i.worker.database.restoredAt().After(i.at) {
		return fmt.Errorf("service %d was planned with what is known of another database of oned's: %w", i.service, pipeline.ErrConflict)
	}
	return nil
}

// load fetches everything known of the service: the record, the document and
// the VMs. What a former owner left unfinished is part of it.
func (i *ingester) load(ctx context.Context) error {
	if err := i.checkDatabase(ctx); err != nil {
		return err
	}
	if i.loaded {
		return nil
	}
	i.at = time.Now()
	record, revision, err := i.worker.pipe.LoadRecord(ctx, i.service)
	if err != nil {
		return fmt.Errorf("load the record of service %d: %w", i.service, err)
	}
	i.record, i.revision, i.facts = record, revision, flow.Facts{}
	i.saver.openRecord()
	i.saver.published = i.record.State
	i.finder.searched = search{}
	if record.Deleted {
		if err := i.checkTombstone(ctx); err != nil {
			return err
		}
	}
	if i.record.Deleted {
		i.exists, i.loaded = false, true
		return nil
	}
	if err := i.refreshDocument(ctx); err != nil {
		return err
	}
	if !i.exists {
		i.loaded = true
		return nil
	}
	i.doubtCalls()
	if err := i.refreshFacts(ctx); err != nil {
		return err
	}
	if err := i.saver.resend(ctx); err != nil {
		return err
	}
	i.loaded = true
	return nil
}

// doubtCalls: the former owner may have made any call that it had committed to,
// or none. Each VM is looked for before it is created, and one that was to end
// is asked again.
func (i *ingester) doubtCalls() {
	state := &i.record.State
	for i := range state.Intents {
		state.Intents[i].Attempts = max(1, state.Intents[i].Attempts)
	}
	*state = flow.DoubtRequests(*state)
}

// refreshDocument reads the document and holds it against the record. Whose
// text it is decides: ours as last saved or decided, one of ours that a former
// owner saved too late, or somebody else's, which then is the truth. That it is
// somebody else's only the zone's leader is believed.
func (i *ingester) refreshDocument(ctx context.Context) error {
	i.read = time.Now()
	var found foundDocument
	var err error
	if i.revision == 0 && i.made != nil {
		found = *i.made
	} else {
		found, err = i.readDocument(ctx, i.actor.server())
	}
	if err == nil && found.exists && i.revision != 0 && (found.digest != i.record.Saved || i.predates(found.digest)) {
		if err := i.worker.database.doubt(ctx); err != nil {
			return err
		}
		if !i.isOurs(found.digest) {
			found, err = i.readDocument(ctx, i.actor.server().Confirmed())
		}
	}
	if err != nil {
		return err
	}
	if i.exists = found.exists; !i.exists {
		return nil
	}
	state := &i.record.State
	state.Service.ID = i.service
	state.Service = state.Service.OwnedBy(found.owner, time.Now())
	if err := i.actor.actAs(ctx, found.owner); err != nil {
		return err
	}
	if found.digest != i.record.Saved && len(found.repairs) > 0 {
		i.worker.config.Logger.Warn("the service's document does not fit together and is put right", "service", i.service, "repairs", found.repairs)
		found.body = found.body.Noted(found.repairs, time.Now())
	}
	switch {
	case i.revision == 0:
		state.Service.Body = found.body
		i.record.Saved = found.digest
	case i.isOurs(found.digest):
		// Where an earlier owner saved late what it had decided, ours is saved again.
		i.record.Saved = found.digest
	case found.digest != i.record.Saved, i.predates(found.digest):
		if reason, since := i.ofAnotherTime(found); reason != "" {
			i.forgetRecord(reason, since)
			i.record.State.Service = flow.Service{ID: i.service, Owner: found.owner, Body: found.body}
			i.record.Saved = found.digest
			return nil
		}
		i.worker.config.Logger.Info("the document was changed by somebody else: it is taken as it is", "service", i.service)
		state.Service.Body = found.body
		i.record.Saved = found.digest
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
	// repairs are what was put right in the body.
	repairs []string
}

func (i *ingester) readDocument(ctx context.Context, session *opennebula.Session) (foundDocument, error) {
	document, err := session.Document(ctx, i.service)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return foundDocument{}, nil
	case err != nil:
		return foundDocument{}, fmt.Errorf("read the document of service %d: %w", i.service, err)
	case document.Type != flow.DocumentTypeService:
		return foundDocument{}, nil
	}
	found := foundDocument{exists: true, owner: document.Owner, digest: flow.DigestOf(document.Body)}
	if i.isOurs(found.digest) {
		return found, nil
	}
	if found.body, found.repairs, err = flow.ReadService(document.Body); err != nil {
		return found, fmt.Errorf("%w: service %d: %w", errPoison, i.service, err)
	}
	if len(found.repairs) == 0 { // else what oned holds is not what the body is written as
		found.digest = found.body.Digest()
	}
	return found, nil
}

// isOurs reports whether what has the digest was decided on here or by an earlier owner.
func (i *ingester) isOurs(digest string) bool {
	return i.revision != 0 && !i.predates(digest) && (slices.Contains(i.record.Digests, digest) || digest == i.record.State.Service.Body.Digest())
}

// followLeader notes who leads the zone. A change is committed while the service waits:
// which of its VMs may have been left behind depends on when it was. A service that waits
// was looked at not long ago: where this process has not seen the change, it was since then.
func (i *ingester) followLeader() {
	term, since := i.worker.oned.Leadership()
	before, waits := i.record.State.Leader, i.record.State.Service.State().Waiting()
	if since.IsZero() && waits {
		since = time.Now()
	}
	i.record.State = flow.Lead(i.record.State, term, since)
	i.led = i.led || i.record.State.Leader != before && waits
}
