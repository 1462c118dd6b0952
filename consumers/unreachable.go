package consumers

import (
	"context"
	"log/slog"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline/work"
)

const (
	// lookAtOned is how often it is looked whether oned answers, and how long it
	// may take to say so.
	lookAtOned = 500 * time.Millisecond
	// longSilence is for how long oned may owe an answer before it is asked.
	longSilence = time.Second
)

// reach is whether this worker reaches oned.
type reach struct {
	oned   *opennebula.Client
	logger *slog.Logger
}

// watch has the other workers take over while this one cannot reach oned and
// they can: it may be cut off from oned and not from NATS. It costs oned nothing
// while it answers.
func (r *reach) watch(ctx context.Context, members *work.Membership) {
	ticker := time.NewTicker(lookAtOned)
	defer ticker.Stop()
	failures, blind := 0, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		switch {
		case failures == 0 && r.oned.Silence() < longSilence:
			continue
		case r.answers(ctx):
			failures = 0
		case failures < blindAfter:
			failures++
		}
		if ctx.Err() != nil {
			return
		}
		if is := failures >= blindAfter; is != blind {
			blind = is
			r.logger.Warn("the connection of this worker to oned was lost or restored; while it is lost, other workers take over its services", "reaches", !blind)
		}
		members.SetOnedUnreachable(blind)
	}
}

// blindAfter is how often in a row oned does not answer.
const blindAfter = 2

// answers reports whether oned answers now.
func (r *reach) answers(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, lookAtOned)
	defer cancel()
	return r.oned.Ping(asking)
}
