package routing

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
)

// lostWithLeader is for how long after a change of the leader an event that was found, and
// not heard, counts as one that the old leader did not get published.
const lostWithLeader = time.Minute

// watchLeader wakes, some time after a change of the zone's leader, the services of the VMs that the
// old one has left in the middle of something. Services that wait look by themselves; one that runs
// would not.
func (r *Router) watchLeader(ctx context.Context) {
	searched, logged := 0, 0
	for idle.For(ctx, time.Second) == nil {
		term, since := r.services.Oned.Leadership()
		if term == searched || since.IsZero() || time.Since(since) < r.config.LeaderChange {
			continue
		}
		err := r.wakeLeftBehind(ctx, term, since)
		switch {
		case err == nil:
			searched = term
		case ctx.Err() == nil && logged != term:
			r.services.Logger.Warn("cannot look for VMs that stopped at a change of leader, retrying", "error", err)
			logged = term
		}
	}
}

func (r *Router) wakeLeftBehind(ctx context.Context, term int, since time.Time) error {
	left, err := r.pipe.VMsThat(ctx, one.VM.Changing)
	if err != nil {
		return err
	}
	var wakes []pipeline.Wake
	woken := map[int]bool{}
	for id, event := range left {
		service := event.VM.Service
		if service < 0 || woken[service] || EnteredAt(event, since).After(since) {
			continue
		}
		woken[service] = true
		wakes = append(wakes, pipeline.Wake{
			Work:      pipeline.Work{Service: service, Reason: fmt.Sprintf("%s since before the last change of leader", event.Title())},
			MessageID: fmt.Sprintf("left-%d-%d", term, id),
		})
	}
	if err := r.pipe.PublishWakes(ctx, wakes); err != nil {
		return fmt.Errorf("wake %d services: %w", len(wakes), err)
	}
	return nil
}

// EnteredAt is when a VM came to the state that an event tells of. Of one that was found
// right after the leader had changed, the old leader's event is lost.
func EnteredAt(event pipeline.Event, leader time.Time) time.Time {
	if event.Resync && event.Heard.After(leader) && event.Heard.Before(leader.Add(lostWithLeader)) {
		return leader.Add(-time.Second)
	}
	return event.Heard
}
