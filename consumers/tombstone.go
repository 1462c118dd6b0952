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
func (i *ingester) checkTombstone(ctx context.Context) error {
	found, err := i.readDocument(ctx, i.actor.server().Confirmed())
	if err != nil || !found.exists {
		return err
	}
	i.forgetRecord("the record says that the service has ended, and there is a document of its id")
	return nil
}

// isAnother reports whether a body is another service's than the record's: when a service was
// started cannot be changed.
func (i *ingester) isAnother(body flow.Body) bool {
	known := i.record.State.Service.Body.StartTime
	return known != 0 && body.StartTime != 0 && known != body.StartTime
}

// forgetRecord begins with a record as of a new service. What numbers inputs, timers and
// transitions goes on.
func (i *ingester) forgetRecord(reason string) {
	i.worker.config.Logger.Warn("the service's record is not believed, and the document is taken: was oned restored, or the data folder another's?",
		"service", i.service, "reason", reason)
	before := i.record
	i.record = pipeline.Record{Version: pipeline.Version, Applied: before.Applied, Generation: before.Generation}
	i.record.Outbox.First = before.Outbox.First + uint64(len(before.Outbox.Transitions))
	i.record.State.Service.ID = i.service
	i.saver.published = i.record.State
	i.saver.dirtyTimers = map[string]bool{}
	for name := range before.Timers {
		i.saver.dirtyTimers[name] = true // none of them is set any more
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
