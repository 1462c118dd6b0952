package routing

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// watchDamage repairs the stream of work, and has every service look at oned, where a damage
// has cut it off. It returns an error where the stream of events was cut off: the router has
// to begin anew then.
func (r *Router) watchDamage(ctx context.Context, routed func() uint64) error {
	var unread, events persistent
	for ; ctx.Err() == nil; _ = idle.For(ctx, r.config.ConfirmDamage/2) {
		_, _, early, err := work.EndsEarly(ctx, r.pipe.Pipeline)
		if unread.lasts(early && err == nil, r.config.ConfirmDamage) {
			err = r.repairWork(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.config.Logger.Warn("stream WORK could not be checked for damage, retrying", "error", err)
		}
		last, err := r.pipe.EndOfEvents(ctx)
		if events.lasts(err == nil && last < routed(), r.config.ConfirmDamage) {
			return fmt.Errorf("stream %s was damaged: it ends at %d, before messages that have been read", pipeline.StreamONE, last)
		}
	}
	return ctx.Err()
}

// persistent is a suspicion. A server that has just come to lead a stream may tell an end
// that it has passed already.
type persistent struct{ since time.Time }

// lasts reports whether it has been suspected for so long, without a break.
func (p *persistent) lasts(suspected bool, long time.Duration) bool {
	switch {
	case !suspected:
		p.since = time.Time{}
	case p.since.IsZero():
		p.since = time.Now()
	}
	return suspected && time.Since(p.since) >= long
}

func (r *Router) repairWork(ctx context.Context) error {
	repaired, err := work.Repair(ctx, r.pipe.Pipeline, r.pipe.Queued)
	if err != nil || !repaired {
		return err
	}
	if err := r.services.WakeAll(ctx, "stream WORK was damaged"); err != nil {
		return err
	}
	r.config.Logger.Warn("every service is checked against oned after the damage")
	return nil
}

// startOfEvents is where the router goes on: behind its cursor, or at the end of a stream
// that was cut off before it. What was lost the bridges find by comparing with oned, and what
// came since and is passed over, every service by looking at oned.
func (r *Router) startOfEvents(ctx context.Context) (uint64, error) {
	after, err := r.pipe.LoadCursor(ctx, pipeline.RouterKey)
	if err != nil {
		return 0, fmt.Errorf("load the router's cursor: %w", err)
	}
	last, err := r.pipe.EndOfEvents(ctx)
	if err != nil || last >= after {
		return after, err
	}
	r.config.Logger.Error("stream ONE was damaged: it ends before events that have been read; reading continues at its end", "ends_at", last, "read_up_to", after)
	return last, r.services.WakeAll(ctx, "stream ONE was damaged")
}
