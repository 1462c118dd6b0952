package consumers

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/pipeline/work"
)

const (
	// lookAtOned is how often it is looked whether oned answers, and how long it
	// may take to say so.
	lookAtOned = 500 * time.Millisecond
	// longSilence is for how long oned may owe an answer before it is asked.
	longSilence = time.Second
)

// watchOned has the other workers take over while this one cannot reach oned and
// they can: it may be cut off from oned and not from NATS. It costs oned nothing
// while it answers.
func (w *Worker) watchOned(ctx context.Context, members *work.Membership) {
	ticker := time.NewTicker(lookAtOned)
	defer ticker.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		switch {
		case failures == 0 && w.oned.Silence() < longSilence:
			continue
		case w.reachesOned(ctx):
			failures = 0
		case failures < blindAfter:
			failures++
		}
		if ctx.Err() == nil {
			w.setUnreachable(members, failures >= blindAfter)
		}
	}
}

// blindAfter is how often in a row oned does not answer.
const blindAfter = 2

func (w *Worker) reachesOned(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, lookAtOned)
	defer cancel()
	return w.oned.Ping(asking)
}

func (w *Worker) setUnreachable(members *work.Membership, blind bool) {
	if w.blind != blind {
		w.blind = blind
		w.config.Logger.Warn("whether this worker reaches oned has changed; while it does not, others that do take over its services", "reaches", !blind)
	}
	members.SetOnedUnreachable(blind)
}
