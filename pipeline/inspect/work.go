package inspect

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/presence"
	"github.com/flowjet/flowjet/pipeline/work"
)

// WorkStatus is who does the work and how much of it waits.
type WorkStatus struct {
	Version int `json:"v"`
	// Workers are the live ones, by name.
	Workers []WorkerStatus `json:"workers"`
	// Partitions are the parts of the work, each with who reads it and how many
	// wake-ups wait in it.
	Partitions []PartitionStatus `json:"partitions"`
	// Router and Autoscaler are the workers that share events out and that scale;
	// empty if there is no worker.
	Router     string `json:"router"`
	Autoscaler string `json:"autoscaler"`
	// EventsWaiting is how many events the router has not read yet.
	EventsWaiting uint64 `json:"events_waiting"`
	// DeadLetters is how many messages were given up and are kept.
	DeadLetters uint64 `json:"dead_letters"`
	// Members are the processes that are expected because they have been there.
	Members []presence.Member `json:"members"`
	// Servers are the NATS servers that hold copies of the dead letters; none where there is one.
	Servers []ServerStatus `json:"servers"`
}

// WorkerStatus is one live worker.
type WorkerStatus struct {
	Name            string `json:"name"`
	OnedUnreachable bool   `json:"blind"`
}

// PartitionStatus is one part of the work.
type PartitionStatus struct {
	Partition int `json:"partition"`
	// Worker is who reads it; empty if there is no worker.
	Worker string `json:"worker"`
	// Waiting is how many wake-ups are not handled yet.
	Waiting uint64 `json:"waiting"`
}

// WorkObserver follows the workers and processes, to tell at any time who does the work.
type WorkObserver struct {
	*work.Observer
	inspector *Inspector
	processes *presence.Follower
}

// Stop ends the following.
func (o *WorkObserver) Stop() {
	o.Observer.Stop()
	o.processes.Stop()
}

// workReads is how many cursors are read at once.
const workReads = 4

// Status reads who does the work now and what waits.
func (o *WorkObserver) Status(ctx context.Context) (WorkStatus, error) {
	live := o.Live()
	owner := work.Owners(live)
	status := WorkStatus{
		Version: pipeline.Version, Workers: []WorkerStatus{}, Partitions: make([]PartitionStatus, pipeline.Partitions),
		Router: owner[pipeline.RouterKey], Autoscaler: owner[pipeline.AutoscalerKey],
	}
	for _, name := range slices.Sorted(maps.Keys(live)) {
		status.Workers = append(status.Workers, WorkerStatus{name, live[name].OnedUnreachable})
	}
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(workReads)
	for partition := range pipeline.Partitions {
		at := &status.Partitions[partition]
		at.Partition, at.Worker = partition, owner[pipeline.PartitionKey(partition)]
		reads.Go(func() (err error) {
			at.Waiting, err = o.inspector.waiting(ctx, partitionReader(partition))
			return err
		})
	}
	reads.Go(func() (err error) {
		status.EventsWaiting, err = o.inspector.waiting(ctx, router)
		return err
	})
	reads.Go(func() error {
		info, err := o.inspector.core.Stream(pipeline.StreamDead).Info(ctx)
		if err == nil {
			status.DeadLetters, status.Servers = info.State.Msgs, withServers([]ServerStatus{}, info.Cluster)
		}
		return err
	})
	reads.Go(func() (err error) {
		status.Members, err = o.processes.Members(ctx)
		return err
	})
	if err := reads.Wait(); err != nil {
		return WorkStatus{}, fmt.Errorf("read the pending messages: %w", err)
	}
	return status, nil
}

// reader is one that saves how far it has come in a stream.
type reader struct{ cursor, stream, filter string }

var (
	router   = reader{pipeline.RouterKey, pipeline.StreamONE, pipeline.SubjectsEvents}
	webhooks = reader{pipeline.WebhooksCursor, pipeline.StreamFlow, pipeline.SubjectsFlow}
)

func partitionReader(partition int) reader {
	return reader{pipeline.PartitionKey(partition), pipeline.StreamWork, pipeline.PartitionSubjects(partition)}
}
