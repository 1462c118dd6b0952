package presence

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/liveness"
)

// MissingAfter is after how long without a sound a process counts as missing. It is several
// times deadAfter: to alarm somebody takes more than to share connections anew.
const MissingAfter = 3 * time.Second

// Follower hears the live processes without being one.
type Follower struct {
	pipe *pipeline.Pipeline
	*liveness.Set[pipeline.Process]
	since time.Time
}

// Follow begins to hear the processes. Stop ends it.
func Follow(p *pipeline.Pipeline) (*Follower, error) {
	live, err := liveness.Listen(p.Conn(), pipeline.SubjectsProcess, MissingAfter, func(heard pipeline.Process) (string, bool) { return heard.ID, heard.Leaving })
	if err != nil {
		return nil, err
	}
	return &Follower{p, live, time.Now()}, nil
}

// Members are the processes that are expected, by name. Before all of them can have been
// heard they are as they are kept.
func (f *Follower) Members(ctx context.Context) ([]Member, error) {
	known, err := Members(ctx, f.pipe)
	if err != nil {
		return nil, err
	}
	members, _ := merge(known, f.Live(), time.Now())
	if !f.settled() {
		for i := range members {
			members[i].Missing = nil
			if at := slices.IndexFunc(known, func(m Member) bool { return m.Name == members[i].Name }); at >= 0 {
				members[i].Missing = known[at].Missing
			}
		}
	}
	return append([]Member{}, members...), nil
}

// settled reports whether all live processes can have been heard since the follower, or the
// connection after a failure, began.
func (f *Follower) settled() bool {
	state := f.pipe.State()
	return state.Connected && min(time.Since(f.since), time.Since(state.Since)) >= MissingAfter
}

// Live are the processes that are heard.
func (f *Follower) Live() []pipeline.Process { return slices.Collect(maps.Values(f.Set.Live())) }

// keepEvery is how often it is looked whether the members have changed.
const keepEvery = time.Second

// Keep keeps the members up to date while mine reports that this process is the one to do so, until ctx ends.
func (f *Follower) Keep(ctx context.Context, mine func() bool) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !mine() || !f.settled() {
			continue
		}
		// What fails is tried again.
		if known, revision, err := load(ctx, f.pipe); err == nil {
			if members, changed := merge(known, f.Live(), time.Now()); changed {
				_ = save(ctx, f.pipe, members, revision)
			}
		}
	}
}
