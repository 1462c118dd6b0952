package presence

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/liveness"
)

// MissingAfter is after how long without a sound a process counts as missing. It is several
// times deadAfter: to alarm somebody takes more than to share connections anew.
const MissingAfter = 3 * time.Second

// Follower hears the live processes without being one.
type Follower struct {
	pipe         *pipeline.Pipeline
	subscription *nats.Subscription
	live         *liveness.Set[pipeline.Process]
	since        time.Time
}

// Follow begins to hear the processes. Stop ends it.
func Follow(p *pipeline.Pipeline) (*Follower, error) {
	f := &Follower{pipe: p, live: liveness.New[pipeline.Process](MissingAfter), since: time.Now()}
	var err error
	if f.subscription, err = p.Conn().Subscribe(pipeline.SubjectsProcess, f.receive); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", pipeline.SubjectsProcess, err)
	}
	return f, nil
}

// Stop ends the following.
func (f *Follower) Stop() { _ = f.subscription.Unsubscribe() }

func (f *Follower) receive(message *nats.Msg) {
	var process pipeline.Process
	switch {
	case json.Unmarshal(message.Data, &process) != nil || process.ID == "":
	case process.Leaving:
		f.live.Left(process.ID)
	default:
		f.live.Heard(process.ID, process)
	}
}

// Members are the processes that are expected, by name. Before all of them can have been
// heard they are as they are kept.
func (f *Follower) Members(ctx context.Context) ([]Member, error) {
	known, err := Members(ctx, f.pipe)
	if err != nil {
		return nil, err
	}
	members, _ := Merge(known, f.Live(), time.Now())
	if !f.settled() {
		for i := range members {
			members[i].Missing = missingOf(known, members[i].Name)
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

// missingOf is since when a member is missing by what is kept.
func missingOf(known []Member, name string) *time.Time {
	if at := slices.IndexFunc(known, func(m Member) bool { return m.Name == name }); at >= 0 {
		return known[at].Missing
	}
	return nil
}

// Live are the processes that are heard.
func (f *Follower) Live() []pipeline.Process { return slices.Collect(maps.Values(f.live.Live())) }

// keepEvery is how often it is looked whether the members have changed.
const keepEvery = time.Second

// Keep keeps the members up to date while mine reports that this process is the one to do
// so, until ctx ends.
func (f *Follower) Keep(ctx context.Context, mine func() bool) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if mine() && f.settled() {
			f.keep(ctx)
		}
	}
}

func (f *Follower) keep(ctx context.Context) {
	known, revision, err := load(ctx, f.pipe)
	if err != nil {
		return // it is tried again
	}
	if members, changed := Merge(known, f.Live(), time.Now()); changed {
		_ = save(ctx, f.pipe, members, revision) // it is tried again
	}
}
