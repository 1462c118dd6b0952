package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

// Standing is who does the work and how much of it waits.
type Standing struct {
	Version int `json:"v"`
	// Workers are the live ones, by name.
	Workers []WorkerStanding `json:"workers"`
	// Partitions are the parts of the work, each with who reads it and how many
	// wake-ups wait in it.
	Partitions []PartitionStanding `json:"partitions"`
	// Router and Autoscaler are the workers that share events out and that scale;
	// empty if there is no worker.
	Router     string `json:"router"`
	Autoscaler string `json:"autoscaler"`
	// EventsWaiting is how many events the router has not looked at yet.
	EventsWaiting uint64 `json:"events_waiting"`
	// DeadLetters is how many messages were given up and are kept.
	DeadLetters uint64 `json:"dead_letters"`
}

// WorkerStanding is one live worker.
type WorkerStanding struct {
	Name string `json:"name"`
	// Blind reports whether it cannot reach oned.
	Blind bool `json:"blind"`
}

// PartitionStanding is one part of the work.
type PartitionStanding struct {
	Partition int `json:"partition"`
	// Worker is who reads it; empty if there is no worker.
	Worker string `json:"worker"`
	// Waiting is how many wake-ups are not handled yet.
	Waiting uint64 `json:"waiting"`
}

// Observer hears the workers' heartbeats without being one.
type Observer struct {
	pipeline     *Pipeline
	subscription *nats.Subscription

	mu   sync.Mutex
	seen map[string]sighting
}

// Observe begins to listen to the workers; who they are is known after a
// heartbeat's time. Stop ends it.
func (p *Pipeline) Observe() (*Observer, error) {
	o := &Observer{pipeline: p, seen: map[string]sighting{}}
	var err error
	if o.subscription, err = p.conn.Subscribe(SubjectsWorker, o.hear); err != nil {
		return nil, fmt.Errorf("listen to the workers: %w", err)
	}
	return o, nil
}

// Stop ends the listening.
func (o *Observer) Stop() { _ = o.subscription.Unsubscribe() }

func (o *Observer) hear(message *nats.Msg) {
	var heard heartbeatMessage
	if json.Unmarshal(message.Data, &heard) != nil || heard.Worker == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if heard.State == stateLeaving {
		delete(o.seen, heard.Worker)
		return
	}
	if _, known := o.seen[heard.Worker]; known || len(o.seen) < maxWorkers {
		o.seen[heard.Worker] = sighting{at: time.Now(), blind: heard.Blind}
	}
}

// workers are the live ones, and the names of those that share the keys: as
// each worker finds it for itself.
func (o *Observer) workers() (live []WorkerStanding, able []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(o.seen, func(_ string, heard sighting) bool { return now.Sub(heard.at) >= deadAfter })
	live = []WorkerStanding{}
	all := slices.Sorted(maps.Keys(o.seen))
	for _, name := range all {
		live = append(live, WorkerStanding{Name: name, Blind: o.seen[name].blind})
		if !o.seen[name].blind {
			able = append(able, name)
		}
	}
	if len(able) == 0 {
		able = all
	}
	return live, able
}

// standingReads is how many cursors are looked at at once.
const standingReads = 4

// Standing looks at who does the work now and at what waits.
func (o *Observer) Standing(ctx context.Context) (Standing, error) {
	live, able := o.workers()
	owner := owners(able)
	standing := Standing{
		Version: Version, Workers: live, Partitions: make([]PartitionStanding, Partitions),
		Router: owner[RouterKey], Autoscaler: owner[AutoscalerKey],
	}
	looks, ctx := errgroup.WithContext(ctx)
	looks.SetLimit(standingReads)
	for partition := range Partitions {
		key := PartitionKey(partition)
		looks.Go(func() (err error) {
			at := &standing.Partitions[partition]
			at.Partition, at.Worker = partition, owner[key]
			at.Waiting, err = o.pipeline.waiting(ctx, StreamWork, PartitionSubjects(partition), key)
			return err
		})
	}
	looks.Go(func() (err error) {
		standing.EventsWaiting, err = o.pipeline.waiting(ctx, StreamONE, SubjectsEvents, RouterKey)
		return err
	})
	looks.Go(func() error {
		info, err := o.pipeline.streams[StreamDead].Info(ctx)
		if err == nil {
			standing.DeadLetters = info.State.Msgs
		}
		return err
	})
	if err := looks.Wait(); err != nil {
		return Standing{}, fmt.Errorf("look at what waits: %w", err)
	}
	return standing, nil
}

// waiting is how many messages a reader has before it.
func (p *Pipeline) waiting(ctx context.Context, stream, filter, cursor string) (uint64, error) {
	done, err := p.LoadCursor(ctx, cursor)
	if err != nil {
		return 0, err
	}
	r := p.newReader(stream, filter, done)
	defer r.Stop()
	if err := r.open(ctx); err != nil {
		return 0, err
	}
	return r.pending, nil
}
