package consumers

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/consumers/routing"
	"github.com/flowjet/flowjet/pipeline"
)

// What NATS holds can belong to another time or another zone than oned: oned was restored from
// a backup and uses ids again, or the data folder was. oned's document decides then, and no VM
// is ended because of what NATS holds.

// checkTombstone believes that the service has ended only while the zone's leader has no
// document of its id.
func (l *loader) checkTombstone(ctx context.Context) error {
	found, err := l.readDocument(ctx, l.actor.server().Confirmed())
	if err != nil || !found.exists {
		return err
	}
	l.forgetRecord("the service has ended according to its record, but has a document", found.body.Started().Add(-routing.ClockSkew))
	return nil
}

// ofAnotherTime returns why the record does not belong to a document that it does not know,
// and from when on commands are the document's service's; no reason if it does.
func (l *loader) ofAnotherTime(found foundDocument) (reason string, since time.Time) {
	known, started, logged := l.record.State.Service.Body.StartTime, found.body.StartTime, found.body.LastLogged()
	switch {
	case known != 0 && started != 0 && known != started: // it cannot be changed
		return "the document and the record belong to different services", found.body.Started().Add(-routing.ClockSkew)
	case l.predates(found.digest):
		return "the record belongs to another database of oned", l.worker.database.restoredAt()
	case logged.After(l.record.Written.Add(routing.ClockSkew)):
		since = logged.Add(time.Second)
		if now := time.Now(); since.After(now) {
			since = now
		}
		return "the service has changed since the record was written", since
	}
	return "", time.Time{}
}

// predates reports whether the record is of another database of oned's than a document that is
// not as was decided.
func (l *loader) predates(digest string) bool {
	return l.record.Written.Before(l.worker.database.restoredAt()) && digest != l.record.State.Service.Body.Digest()
}

// forgetRecord begins with a record as of a new service. What numbers inputs, timers and
// transitions goes on. Commands from before since are refused.
func (l *loader) forgetRecord(reason string, since time.Time) {
	l.worker.config.Logger.Warn("the service's record does not match its document, which is used instead: was oned or the data folder restored from a backup?",
		"service", l.service, "reason", reason)
	before := l.record
	l.record = pipeline.Record{Version: pipeline.Version, Applied: before.Applied, Generation: before.Generation, Since: since, Written: before.Written}
	l.record.Outbox.First = before.Outbox.First + uint64(len(before.Outbox.Transitions))
	l.record.State.Service.ID = l.service
	l.saver.published, l.led = l.record.State, true // it is to be stored
	l.saver.dirtyTimers = map[string]bool{}
	for name := range before.Timers {
		l.saver.dirtyTimers[name] = true // none of them is set any more
	}
}
