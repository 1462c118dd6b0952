package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// watchDamage repairs the stream of work if damage has cut it off, and makes every service check oned. It returns an error if the stream of
// events was cut off: the router starts again.
func (r *Router) watchDamage(ctx context.Context, routed func() uint64) error {
	var queue, events suspicion
	for ; ctx.Err() == nil; _ = idle.For(ctx, r.ConfirmDamage/2) {
		_, _, early, err := work.EndsEarly(ctx, r.Pipe.Pipeline)
		if queue.lasts(early && err == nil, r.ConfirmDamage) {
			var repaired bool
			if repaired, err = work.Repair(ctx, r.Pipe.Pipeline, r.Pipe.Queued); err == nil && repaired {
				if err = r.checkAll(ctx, "stream WORK was damaged", cutOff(pipeline.StreamWork)); err == nil {
					r.Services.Logger.Warn("every service is checked against oned after the damage")
				}
			}
		}
		if err != nil && ctx.Err() == nil {
			r.Services.Logger.Warn("stream WORK could not be checked for damage, retrying", "error", err)
		}
		last, err := r.Pipe.EndOfEvents(ctx)
		if events.lasts(err == nil && last < routed(), r.ConfirmDamage) {
			return fmt.Errorf("stream %s was damaged: it ends at %d, before messages that have been read", pipeline.StreamONE, last)
		}
	}
	return ctx.Err()
}

// saveExtentsEvery is how often the streams' extents are saved.
const saveExtentsEvery = time.Minute

// WatchStreams makes streams again that NATS has lost, while the router is owned here, and has every service check oned: also where one was made
// again by another process, or a bucket was cut off, or one was purged. It does not depend on the router, which cannot run without them.
func (r *Router) WatchStreams(ctx context.Context, owned func() bool) {
	var wrong suspicion
	var known map[string]pipeline.Extent
	var saved time.Time
	for idle.For(ctx, r.ConfirmDamage/2) == nil {
		if !owned() {
			known = nil
			continue
		}
		extents, lost, err := r.Pipe.Extents(ctx)
		if err == nil && known == nil && len(lost) == 0 {
			known, _, err = pipeline.ExtentsNote.Load(ctx, r.Pipe.Pipeline)
		}
		damaged, purged := slices.Clone(lost), false
		for name, extent := range extents {
			// The end of the others is watched by their readers.
			before, has := known[name]
			cut := extent.Lacks(before) && (pipeline.IsBucket(name) || !extent.Made.Equal(before.Made))
			if has && (cut || extent.Purged(before)) {
				damaged, purged = append(damaged, name), purged || !cut && before.Stamp == 0
			}
		}
		slices.Sort(damaged)
		switch {
		case wrong.lasts(err == nil && len(damaged) > 0, r.ConfirmDamage) || purged: // without a stamp the messages that come meanwhile would hide it
			if err = r.replace(ctx, lost, damaged); err == nil {
				known, saved = map[string]pipeline.Extent{}, time.Time{}
			}
		case err != nil, len(damaged) > 0:
		default:
			if err = r.Pipe.StampBuckets(ctx, extents); err == nil && time.Since(saved) >= saveExtentsEvery {
				if err = pipeline.ExtentsNote.Save(ctx, r.Pipe.Pipeline, extents); err == nil {
					saved = time.Now()
				}
			}
			known = extents
		}
		if err != nil && ctx.Err() == nil {
			r.Services.Logger.Warn("the streams could not be checked or recreated, retrying", "damaged", damaged, "error", err)
		}
	}
}

// replace makes the lost ones of damaged streams again, and has every service check oned.
func (r *Router) replace(ctx context.Context, lost, damaged []string) error {
	if err := r.Pipe.RecreateStreams(ctx, lost); err != nil {
		return err
	}
	names := strings.Join(damaged, ", ")
	r.Services.Logger.Error("NATS has lost streams or messages of them: lost streams are recreated, and every service is checked against oned", "streams", names)
	return r.checkAll(ctx, "streams were lost", "every service was checked, because NATS has lost streams or messages of them: "+names)
}

// suspicion has to last before it counts: a server that has just become a stream's leader may report an end that it has passed.
type suspicion struct{ since time.Time }

// lasts reports whether the suspicion has lasted for so long, without a break.
func (p *suspicion) lasts(suspected bool, long time.Duration) bool {
	switch {
	case !suspected:
		p.since = time.Time{}
	case p.since.IsZero():
		p.since = time.Now()
	}
	return suspected && time.Since(p.since) >= long
}

// startOfEvents returns where the router continues: after its cursor, or at the end of a stream that was cut off before it, and may have
// grown as long again. The bridges find lost events by comparing with oned; every service makes up for skipped ones by checking oned. A server that was
// cut off until just now, as this router may have been, still reports an end that the others have passed.
func (r *Router) startOfEvents(ctx context.Context) (uint64, error) {
	after, err := r.Pipe.LoadCursor(ctx, pipeline.RouterKey)
	if err != nil {
		return 0, err
	}
	last, err := r.Pipe.EndOfEvents(ctx)
	for ends := (suspicion{}); err == nil && last < after && !ends.lasts(true, r.ConfirmDamage); {
		_ = idle.For(ctx, r.ConfirmDamage/8)
		last, err = r.Pipe.EndOfEvents(ctx)
	}
	if err != nil {
		return after, err
	}
	mark, _, err := pipeline.EventNote.Load(ctx, r.Pipe.Pipeline)
	if err != nil {
		return after, err
	}
	rewritten, err := r.Pipe.EventsRewritten(ctx, mark)
	switch {
	case err != nil:
		return after, err
	case last < after:
		r.Services.Logger.Error("stream ONE was damaged: it ends before events that have been read; reading continues at its end", "ends_at", last, "read_up_to", after)
	case rewritten:
		r.Services.Logger.Error("stream ONE was damaged: it has other events in the place of some that have been read", "read_up_to", after)
	default:
		return after, nil
	}
	if err := r.checkAll(ctx, "stream ONE was damaged", cutOff(pipeline.StreamONE)); err != nil {
		return after, err
	}
	return min(last, after), pipeline.EventNote.Save(ctx, r.Pipe.Pipeline, pipeline.EventMark{}) // it is reported once
}

// cutOff is what operators are told of a stream that was cut off.
func cutOff(stream string) string {
	return "stream " + stream + " was damaged: its end was lost, and every service was checked"
}

// checkAll has every service check oned, set its timers again and end the commands that are lost, after NATS has lost messages, and notes that for
// operators: a repaired stream does not show it.
func (r *Router) checkAll(ctx context.Context, reason, noted string) error {
	waiting := map[int][]string{}
	err := r.Pipe.EachCommand(ctx, func(status pipeline.CommandStatus) {
		if status.State == pipeline.CommandQueued {
			waiting[status.Service] = append(waiting[status.Service], status.ID)
		}
	})
	if err != nil {
		return err
	}
	return errors.Join(r.Services.WakeAll(ctx, reason, waiting), r.Pipe.NoteMismatch(ctx, noted))
}

// ClockSkew is how far the clocks of hosts, of NATS and of oned may be apart.
const ClockSkew = time.Minute

// olderData finds services that went on after the data was written: it is an older copy, or OneFlow or another Flowjet ran them meanwhile.
type olderData struct {
	written time.Time // when the last record was written, as of the worker's start
	logged  map[int]time.Time
}

// services returns those that went on after their own records were written. The records must be read after the documents that follow them.
// An unreadable record is no evidence.
func (o *olderData) services(ctx context.Context, records *work.Records) (older []int) {
	for service, logged := range o.logged {
		record, revision, err := records.LoadRecord(ctx, service)
		if err == nil && revision > 0 && logged.After(record.Written.Add(ClockSkew)) {
			older = append(older, service)
		}
	}
	slices.Sort(older)
	return older
}

// report reports services that are newer than the data, and wakes them.
func (o *olderData) report(ctx context.Context, r *Router) error {
	services := o.services(ctx, r.Pipe.Records)
	if len(services) == 0 || r.reportedAge.Swap(true) {
		return nil
	}
	reason := fmt.Sprintf("%d services, such as %d, have changed since the data was last written (%s): it is an older copy, or OneFlow or another Flowjet ran them",
		len(services), services[0], o.written.UTC().Format(time.RFC3339))
	r.Services.Logger.Error("NATS's data is older than the services. Their documents at oned are used, earlier commands are refused, "+
		"and no VM is terminated because of NATS's data", "reason", reason)
	if err := r.Pipe.NoteMismatch(ctx, reason); err != nil {
		return err
	}
	for _, service := range services {
		if err := r.Services.wake(ctx, pipeline.Work{Service: service, Reason: "the data is older than the service"}); err != nil {
			return err
		}
	}
	return nil
}
