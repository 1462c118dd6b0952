package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/consumers/routing"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// loader reads the record and the document, and decides which of them to use.
type loader struct {
	*serviceData
	saver *saver
	vms   *vmFetcher
	// seen and made are the input's knowledge of the document, and a document that was just made.
	seen *flow.SeenDocument
	made *foundDocument
	// rewrites is whether the input asks to rewrite an unreadable document; rewritten is whether that was done.
	rewrites, rewritten bool
	// read is when the document was last fetched.
	read time.Time
	// strange is whether another program has changed the document, or may have made it, while no worker drove the service.
	strange bool
}

// checkDatabase discards all data that is from another database of oned's, so that it is loaded again.
func (l *serviceData) checkDatabase(ctx context.Context) error {
	restored, life, err := l.worker.database.since(ctx)
	if !restored.Equal(l.restored) {
		l.loaded = false
	}
	l.life = life
	return err
}

// sureOfDatabase checks whether oned's database is still the same; if not, all data is to be loaded again.
func (l *serviceData) sureOfDatabase(ctx context.Context) error {
	if err := l.worker.database.doubt(ctx); err != nil {
		return err
	}
	if !l.worker.database.restoredAt().Equal(l.restored) {
		return fmt.Errorf("service %d was planned with data of another database of oned: %w", l.service, pipeline.ErrConflict)
	}
	return nil
}

// load fetches everything known of the service, and what a former owner left unfinished.
func (l *loader) load(ctx context.Context) error {
	if err := l.checkDatabase(ctx); err != nil {
		return err
	}
	if l.loaded {
		return nil
	}
	l.restored = l.worker.database.restoredAt()
	record, revision, err := l.worker.pipe.LoadRecord(ctx, l.service)
	if err != nil {
		return err
	}
	if record.Since.After(record.Written.Add(routing.ClockSkew)) {
		// No service began after its record was written: an earlier version took any time from a document, and refused all commands until then.
		record.Since = record.Written
	}
	l.record, l.revision, l.facts = record, revision, flow.Facts{}
	l.saver.openRecord()
	l.saver.published = l.record.State
	l.vms.searched = search{}
	if record.Deleted {
		// The record is believed only while the zone's leader has no document with the service's id.
		found, err := l.readDocument(ctx, l.worker.oned.Server().Confirmed())
		if err != nil {
			return err
		}
		if !found.exists {
			l.exists, l.loaded = false, true
			return nil
		}
		l.forgetRecord("the service has ended according to its record, but has a document", orNow(found.body.Started().Add(-routing.ClockSkew)))
	}
	if err := l.refreshDocument(ctx); err != nil {
		return err
	}
	if !l.exists {
		l.loaded = true
		return nil
	}
	if l.revision == 0 && l.made == nil {
		// The record is lost. A number of a transition that was used is taken for a repetition, by NATS for ten minutes, and by receivers of
		// webhooks for longer.
		published, err := l.worker.pipe.LastTransition(ctx, l.service)
		if err != nil {
			return err
		}
		if published > 0 {
			l.record.Outbox.First = published + 1
		}
	}
	// The former owner may have made any call to which it had committed, or none. Each VM is looked up before it is created, and a VM that
	// was to end is asked again.
	for i := range l.record.State.Intents {
		l.record.State.Intents[i].Attempts = max(1, l.record.State.Intents[i].Attempts)
	}
	l.record.State = flow.DoubtRequests(l.record.State)
	l.followLeader() // first: what the last leader may have left behind is inspected
	if err := l.vms.refreshFacts(ctx); err != nil {
		return err
	}
	if err := l.saver.resend(ctx); err != nil {
		return err
	}
	l.loaded = true
	return nil
}

// refreshDocument reads the document and compares it with the record. Its text is ours as last saved or decided, or as a former owner saved
// it too late, or another program's, which then is the truth. Only the zone's leader is believed that it is another program's.
func (l *loader) refreshDocument(ctx context.Context) error {
	l.read, l.strange = time.Now(), l.revision == 0
	var found foundDocument
	var err error
	if l.revision == 0 && l.made != nil {
		found = *l.made
	} else {
		found, err = l.readDocument(ctx, l.worker.oned.Server())
	}
	if errors.Is(err, errUnreadable) || err == nil && !found.exists && l.revision != 0 {
		found, err = l.readDocument(ctx, l.worker.oned.Server().Confirmed())
	}
	if errors.Is(err, errUnreadable) && l.rewrites {
		found, err = l.rewrite(ctx, err)
	}
	if err == nil && found.exists && l.revision != 0 && (found.digest != l.record.Saved || l.predates(found.digest)) {
		if err := l.worker.database.doubt(ctx); err != nil {
			return err
		}
		if !l.isOurs(found.digest) {
			found, err = l.readDocument(ctx, l.worker.oned.Server().Confirmed())
		}
		if err == nil && !l.isOurs(found.digest) {
			err = l.saver.stillOurs(ctx) // a worker that was suspended sees what its successor has saved
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
	if found.digest != l.record.Saved && len(found.repairs) > 0 {
		l.worker.config.Logger.Warn("the service's document is inconsistent and is repaired", "service", l.service, "repairs", found.repairs)
		found.body = found.body.Noted(found.repairs, time.Now())
	}
	if restored := l.worker.database.restoredAt(); l.record.Written.Before(restored) && l.record.Since.Before(restored) && l.revision != 0 {
		l.record.Since = restored // waiting commands are from users who saw another database
	}
	switch {
	case l.revision == 0:
		state.Service.Body = found.body
	case l.isOurs(found.digest):
		// Where an earlier owner saved late what it had decided, ours is saved again.
	case found.digest != l.record.Saved, l.predates(found.digest):
		if reason, since := l.ofAnotherTime(found); reason != "" {
			l.forgetRecord(reason, since)
			l.strange = true
			state.Service = spec.Service{ID: l.service, Owner: found.owner, Body: found.body}
		} else {
			l.worker.config.Logger.Info("the document was changed by another program and is used as it is", "service", l.service)
			logged := flow.LoggedByOther(*state, found.body)
			if l.strange = !l.loaded && logged != ""; l.loaded {
				if err := l.followOthers(ctx, logged, flow.Added(*state, found.body)); err != nil {
					return err
				}
			}
			*state = flow.Replaced(*state, found.body)
		}
	}
	if found.name == state.Service.Body.Name {
		found.name = ""
	}
	l.led = l.led || found.name != state.Service.Called
	state.Service.Called = found.name
	l.record.Saved = found.digest
	l.saver.behind.shows = state.Service.State()
	return nil
}

// followOthers checks whether another program that has changed the document drives the service: it has logged something, or added VMs that it
// created.
func (l *loader) followOthers(ctx context.Context, logged string, added []int) error {
	if left := l.record.State.LeftAlone; len(added) == 0 && logged == "" || left != nil && left.Until.IsZero() {
		return nil
	}
	added = added[:min(len(added), scattered)] // ids of any number can be written
	if err := l.vms.refresh(ctx, added...); err != nil {
		return err
	}
	l.record.State = flow.Driven(l.record.State, logged, added, l.facts, l.worker.config.Settings)
	if left := l.record.State.LeftAlone; left != nil && left.Until.IsZero() {
		l.worker.config.Logger.Error("another program, such as OneFlow, drives the service, too: it is left alone until it is recovered",
			"service", l.service, "vms", left.VMs, "logged", left.Logged)
	}
	return nil
}

// trustedShare is the share of Settings.CheckInterval (half a second of 30) for which a document that was read or written is written without
// being read again.
const trustedShare = 60

// follow reads a document that is to be written, and reports whether another program has changed it. One whose service was on its way, or for
// whose slot others wait, is written as it is: each service would cost a read more.
func (l *loader) follow(ctx context.Context) (changed bool, err error) {
	decided, since := l.saver.digest(), time.Now().Add(-l.worker.config.Settings.CheckInterval/trustedShare)
	behind := l.saver.behind
	known := l.read.After(since) || behind.written.After(since)
	if decided == l.record.Saved || l.revision == 0 || known || behind.shows.Waiting() || l.worker.scheduler.crowded() {
		return false, nil
	}
	err = l.refreshDocument(ctx)
	return err == nil && l.saver.digest() != decided, err
}

// foundDocument is a service's document as oned shows it. A body that is ours to the letter is not parsed.
type foundDocument struct {
	exists       bool
	owner        one.Identity
	name, digest string
	body         spec.Body
	// repairs are the repairs of the body.
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
	found := foundDocument{exists: true, owner: document.Owner, name: document.Name, digest: spec.DigestOf(document.Body)}
	if l.isOurs(found.digest) {
		return found, nil
	}
	if found.body, found.repairs, err = spec.ReadService(document.Body); err != nil {
		way := "correct it at oned: docs/troubleshooting.md"
		if l.isRecorded() {
			way = fmt.Sprintf("`oneflow recover %d` writes it as Flowjet has it", l.service)
		}
		return found, fmt.Errorf("%w: service %d: %w; %s", errUnreadable, l.service, err, way)
	}
	found.digest = spec.FoundDigest(document.Body, found.body, found.repairs)
	return found, nil
}

// isOurs reports whether the body with the digest was decided on here or by an earlier owner.
func (l *loader) isOurs(digest string) bool {
	return l.revision != 0 && !l.predates(digest) && (slices.Contains(l.record.Digests, digest) || digest == l.saver.digest())
}

// followLeader records the zone's leader. A change is committed while the service waits: its time decides which VMs may have been left
// behind. A waiting service was handled not long ago, so a change that this process has not seen came after that; without a record nothing
// is known of it.
func (l *loader) followLeader() {
	term, since := l.worker.oned.Leadership()
	before, waits := l.record.State.Leader, l.record.State.Service.State().Waiting()
	if since.IsZero() && waits && before.Term != 0 {
		since = time.Now()
	}
	l.record.State = flow.Lead(l.record.State, term, since)
	l.led = l.led || l.record.State.Leader != before && waits
}

// isRecorded reports whether the record has the service's body, from oned's current database.
func (l *loader) isRecorded() bool {
	return l.revision != 0 && !l.record.Deleted && l.record.State.Service.Body.State != nil && !l.record.Written.Before(l.worker.database.restoredAt())
}

// rewrite writes the record's body as the document, if the zone's leader cannot read the document either, and reads it again.
func (l *loader) rewrite(ctx context.Context, reason error) (foundDocument, error) {
	text, _, err := l.saver.bodyText()
	if err != nil || !l.isRecorded() {
		return foundDocument{}, reason
	}
	l.worker.config.Logger.Warn("the service's document cannot be read and is written as the record has it", "service", l.service, "error", reason)
	if err := l.worker.oned.Server().UpdateDocument(opennebula.Within(ctx, l.life), l.service, text); err != nil {
		return foundDocument{}, fmt.Errorf("write the document of service %d again: %w", l.service, err)
	}
	l.rewritten = true
	return l.readDocument(ctx, l.worker.oned.Server().Confirmed())
}

// NATS's data can belong to another time or another zone than oned: oned was restored from a backup and uses ids again, or the data folder
// was. oned's document decides then, and no VM is ended because of NATS's data.

// ofAnotherTime returns why the record does not belong to an unknown document, and the time from which on commands are for the document's
// service; the reason is empty if the record belongs to it.
func (l *loader) ofAnotherTime(found foundDocument) (reason string, since time.Time) {
	known, started, logged := l.record.State.Service.Body.StartTime, found.body.StartTime, found.body.LastLogged()
	switch {
	case known != 0 && started != 0 && known != started: // it cannot be changed
		return "the document and the record belong to different services", orNow(found.body.Started().Add(-routing.ClockSkew))
	case l.predates(found.digest):
		return "the record belongs to another database of oned", l.worker.database.restoredAt()
	case logged.After(l.record.Written.Add(routing.ClockSkew)) && !l.loaded:
		return "the service has changed since the record was written", orNow(logged.Add(time.Second))
	}
	return "", time.Time{}
}

// orNow returns a time from a document, or now if that is earlier: a service's owner can write any time into the document at oned, and one in the
// future would have all commands refused until then.
func orNow(written time.Time) time.Time {
	if now := time.Now(); written.After(now) {
		return now
	}
	return written
}

// predates reports whether the record is from another database than a document that differs from the decided one.
func (l *loader) predates(digest string) bool {
	return l.record.Written.Before(l.worker.database.restoredAt()) && digest != l.saver.digest()
}

// forgetRecord starts the record of a new service. The numbers of inputs, timers and transitions go on. Commands from before since are
// refused.
func (l *loader) forgetRecord(reason string, since time.Time) {
	l.worker.config.Logger.Warn("the service's record does not match its document, which is used instead: a backup of oned or of the data folder was restored, or OneFlow or another Flowjet ran the service meanwhile",
		"service", l.service, "reason", reason)
	before := l.record
	l.record = pipeline.Record{Applied: before.Applied, Generation: before.Generation, Since: since, Written: before.Written}
	l.record.Outbox.First = before.Outbox.First + uint64(len(before.Outbox.Transitions))
	l.record.State.Service.ID = l.service
	l.saver.published, l.led = l.record.State, true // to be stored
	l.saver.dirtyTimers = map[string]bool{}
	for name := range before.Timers {
		l.saver.dirtyTimers[name] = true // none of them is set any more
	}
}

// trustSeen is how long the document that the API read for a command counts, so that it need not be read again: it may be changed, or
// deleted, while the command waits.
const trustSeen = 30 * time.Second

// noteDocument keeps an input's knowledge of the service's document, and with a deploy the document itself.
func (l *loader) noteDocument(input pipeline.Input) {
	l.seen, l.made, l.rewrites, l.rewritten = nil, nil, false, false
	command := input.Work.Command
	if command == nil {
		return
	}
	if command.Verb == flow.VerbRecover {
		var arguments flow.RecoverArguments
		l.rewrites = (len(command.Arguments) == 0 || json.Unmarshal(command.Arguments, &arguments) == nil) && !arguments.Delete
	}
	if time.Since(input.Published) > trustSeen {
		return
	}
	l.seen = command.Seen
	if command.Verb != flow.VerbDeploy || len(command.Arguments) == 0 {
		return
	}
	var made flow.DeployArguments
	opened, err := command.OpenedArguments(l.worker.box.Open)
	if err != nil || json.Unmarshal(opened, &made) != nil {
		return
	}
	if body, err := spec.ParseBody(made.Body); err == nil {
		l.made = &foundDocument{exists: true, owner: made.Owner, digest: body.Digest(), body: body}
	}
}
