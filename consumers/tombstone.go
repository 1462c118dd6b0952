package consumers

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// What NATS holds can belong to another time or another zone than oned: oned was restored from
// a backup and uses ids again, or the data folder was. oned's document decides then, and no VM
// is ended because of what NATS holds.

// checkTombstone believes that the service has ended only while the zone's leader has no
// document of its id.
func (i *ingester) checkTombstone(ctx context.Context) error {
	found, err := i.readDocument(ctx, i.actor.server().Confirmed())
	if err != nil || !found.exists {
		return err
	}
	i.forgetRecord("the record says that the service has ended, and there is a document of its id", found.body.Started().Add(-clockSkew))
	return nil
}

// ofAnotherTime returns why the record does not belong to a document that it does not know,
// and from when on commands are the document's service's; no reason if it does.
func (i *ingester) ofAnotherTime(found foundDocument) (reason string, since time.Time) {
	known, started, logged := i.record.State.Service.Body.StartTime, found.body.StartTime, found.body.LastLogged()
	switch {
	case known != 0 && started != 0 && known != started: // it cannot be changed
		return "the document is another service's than the record", found.body.Started().Add(-clockSkew)
	case i.predates(found.digest):
		return "oned's database is another one than that of the record", i.worker.database.restoredAt()
	case logged.After(i.record.Written.Add(clockSkew)):
		since = logged.Add(time.Second)
		if now := time.Now(); since.After(now) {
			since = now
		}
		return "the service went on after the record was written", since
	}
	return "", time.Time{}
}

// predates reports whether the record is of another database of oned's than a document that is
// not as was decided.
func (i *ingester) predates(digest string) bool {
	return i.record.Written.Before(i.worker.database.restoredAt()) && digest != i.record.State.Service.Body.Digest()
}

// forgetRecord begins with a record as of a new service. What numbers inputs, timers and
// transitions goes on. Commands from before since are refused.
func (i *ingester) forgetRecord(reason string, since time.Time) {
	i.worker.config.Logger.Warn("the service's record is not believed, and the document is taken: was oned restored, or the data folder another's?",
		"service", i.service, "reason", reason)
	before := i.record
	i.record = pipeline.Record{Version: pipeline.Version, Applied: before.Applied, Generation: before.Generation, Since: since, Written: before.Written}
	i.record.Outbox.First = before.Outbox.First + uint64(len(before.Outbox.Transitions))
	i.record.State.Service.ID = i.service
	i.saver.published, i.led = i.record.State, true // it is to be stored
	i.saver.dirtyTimers = map[string]bool{}
	for name := range before.Timers {
		i.saver.dirtyTimers[name] = true // none of them is set any more
	}
}
