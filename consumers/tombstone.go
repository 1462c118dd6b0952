package consumers

import (
	"context"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

// What NATS holds can belong to another time or another zone than oned: oned was restored from
// a backup and uses ids again, or the data folder was. oned's document decides then, and no VM
// is ended because of what NATS holds.

// checkTombstone believes that the service has ended only while the zone's leader has no
// document of its id.
func (l *lane) checkTombstone(ctx context.Context) error {
	found, err := l.readDocument(ctx, l.server().Confirmed())
	if err != nil || !found.exists {
		return err
	}
	l.forgetRecord("the record says that the service has ended, and there is a document of its id")
	return nil
}

// isAnother reports whether a body is another service's than the record's: when a service was
// started cannot be changed.
func (l *lane) isAnother(body flow.Body) bool {
	known := l.record.State.Service.Body.StartTime
	return known != 0 && body.StartTime != 0 && known != body.StartTime
}

// forgetRecord begins with a record as of a new service. What numbers inputs, timers and
// transitions goes on.
func (l *lane) forgetRecord(reason string) {
	l.worker.config.Logger.Warn("the service's record is not believed, and the document is taken: was oned restored, or the data folder another's?",
		"service", l.service, "reason", reason)
	before := l.record
	l.record = pipeline.Record{Version: pipeline.Version, Applied: before.Applied, Generation: before.Generation}
	l.record.Outbox.First = before.Outbox.First + uint64(len(before.Outbox.Transitions))
	l.record.State.Service.ID = l.service
	l.told = l.record.State
	l.dirtyTimers = map[string]bool{}
	for name := range before.Timers {
		l.dirtyTimers[name] = true // none of them is set any more
	}
}

// checkAge finds a oned that is older than what NATS holds: it gives out ids again that VMs
// have had. All VMs are compared anew then.
func (w *Worker) checkAge(ctx context.Context, newest int) {
	compared, err := w.pipe.LoadCursor(ctx, pipeline.ComparedKey)
	if err != nil || compared <= uint64(newest+2) { //nolint:gosec // from -1 on
		return
	}
	w.config.Logger.Error("oned has no VMs as new as NATS knows of: oned was restored from a backup, or the data is another oned's. "+
		"Services are taken as oned has them, and no VM is ended because of what NATS holds", "newest_at_oned", newest, "known_up_to", compared)
	if err := w.pipe.SaveCursor(ctx, pipeline.ComparedKey, 1); err != nil {
		w.config.Logger.Warn("VMs will not be compared anew", "error", err)
	}
}
