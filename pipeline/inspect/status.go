package inspect

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/presence"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Status is the division of the work and how much of it waits. `flowjet status` and `flowjet doctor` show it
// in an Overview; /flowjet/v1/work, the page and metrics show its Work.
type Status struct {
	// Workers are the live ones, by name, each with the partitions that it owns.
	Workers []WorkerShare `json:"workers"`
	// Unowned are the partitions, and the router, that nobody owns: all if no worker is alive, else none.
	Unowned []string `json:"unowned"`
	// Members are the processes that are expected because they have run before.
	Members []presence.Member `json:"members"`
	// Servers are the NATS servers that hold copies of the dead letters, in an overview those of
	// any stream; none if there is only one.
	Servers []ServerStatus `json:"servers"`
	Readers []ReaderStatus `json:"readers"`
	// DeadLetters counts them by the part that made them.
	DeadLetters map[string]uint64 `json:"dead_letters"`
}

// WorkerShare is one live worker with its partitions.
type WorkerShare struct {
	Worker string `json:"worker"`
	// Router and Autoscaler report whether it routes events, and whether it scales.
	Router          bool   `json:"router"`
	Autoscaler      bool   `json:"autoscaler"`
	OnedUnreachable bool   `json:"blind"`
	Blocked         string `json:"blocked,omitempty"`
	Partitions      []int  `json:"partitions"`
}

// Work is a status by partition.
type Work struct {
	Version int `json:"v"`
	// Workers are the live ones, by name.
	Workers []WorkerStatus `json:"workers"`
	// Partitions are the parts of the work, each with its worker and its number of waiting wake-ups.
	Partitions []PartitionStatus `json:"partitions"`
	// Router and Autoscaler are the workers that route events and that scale;
	// empty if there is no worker.
	Router     string `json:"router"`
	Autoscaler string `json:"autoscaler"`
	// EventsWaiting is the number of events that the router has not read yet.
	EventsWaiting uint64 `json:"events_waiting"`
	// DeadLetters is the number of dead letters that are kept.
	DeadLetters uint64            `json:"dead_letters"`
	Members     []presence.Member `json:"members"`
	Servers     []ServerStatus    `json:"servers"`
}

// WorkerStatus is one live worker.
type WorkerStatus struct {
	Name            string `json:"name"`
	OnedUnreachable bool   `json:"blind"`
}

// PartitionStatus is one part of the work.
type PartitionStatus struct {
	Partition int `json:"partition"`
	// Worker reads the partition; empty if there is no worker.
	Worker string `json:"worker"`
	// Waiting is the number of wake-ups that are not handled yet.
	Waiting uint64 `json:"waiting"`
}

// Work returns the status by partition.
func (s Status) Work() Work {
	lags := map[string]uint64{}
	for _, r := range s.Readers {
		lags[r.Reader] = r.Lag
	}
	w := Work{
		Version: pipeline.Version, Workers: []WorkerStatus{}, Partitions: make([]PartitionStatus, pipeline.Partitions),
		EventsWaiting: lags[pipeline.RouterKey], Members: s.Members, Servers: s.Servers,
	}
	for partition := range w.Partitions {
		w.Partitions[partition] = PartitionStatus{Partition: partition, Waiting: lags[pipeline.PartitionKey(partition)]}
	}
	for _, share := range s.Workers {
		w.Workers = append(w.Workers, WorkerStatus{share.Worker, share.OnedUnreachable})
		if share.Router {
			w.Router = share.Worker
		}
		if share.Autoscaler {
			w.Autoscaler = share.Worker
		}
		for _, partition := range share.Partitions {
			w.Partitions[partition].Worker = share.Worker
		}
	}
	for _, count := range s.DeadLetters {
		w.DeadLetters += count
	}
	return w
}

// Observer follows the workers and processes, to return their status at any time.
type Observer struct {
	*work.Observer
	inspector *Inspector
	processes *presence.Follower

	mutex sync.Mutex
	last  Work
	read  time.Time
}

// Stop stops following.
func (o *Observer) Stop() {
	o.Observer.Stop()
	o.processes.Stop()
}

// Work returns the status by partition, read no longer ago than maxAge: it takes some dozen requests to NATS.
func (o *Observer) Work(ctx context.Context, maxAge time.Duration) (Work, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if time.Since(o.read) >= maxAge {
		status, err := o.Status(ctx)
		if err != nil {
			return Work{}, err
		}
		o.last, o.read = status.Work(), time.Now()
	}
	return o.last, nil
}

// readsAtOnce is the number of concurrent requests to NATS.
const readsAtOnce = 4

// Status reads the division of the work and the backlog. Parts that need a missing stream are left out.
func (o *Observer) Status(ctx context.Context, missing ...string) (Status, error) {
	status := Status{Members: []presence.Member{}, Servers: []ServerStatus{}}
	status.Workers, status.Unowned = shares(o.Live())
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(readsAtOnce)
	read := func(do func() error, needs ...string) {
		if !slices.ContainsFunc(needs, func(name string) bool { return slices.Contains(missing, name) }) {
			reads.Go(do)
		}
	}
	checkpoints := pipeline.StreamOf(pipeline.BucketCheckpoint)
	readers := []reader{router, webhooks}
	for partition := range pipeline.Partitions {
		readers = append(readers, reader{pipeline.PartitionKey(partition), pipeline.StreamWork, pipeline.PartitionSubjects(partition)})
	}
	found := make([]ReaderStatus, len(readers))
	for i, of := range readers {
		read(func() error {
			cursor, err := o.inspector.pipe.LoadCursor(ctx, of.cursor)
			if err != nil {
				return err
			}
			lag, first, err := o.inspector.core.Stream(of.stream).Backlog(ctx, of.filter, cursor)
			errs.Wrap(&err, "read the position of %s", of.cursor)
			found[i] = ReaderStatus{Reader: of.cursor, Cursor: cursor, Lag: lag, Oldest: first.Time.UTC()}
			return err
		}, checkpoints, of.stream)
	}
	read(func() error {
		info, err := o.inspector.core.Stream(pipeline.StreamDead).Info(ctx, jetstream.WithSubjectFilter(pipeline.SubjectsDead))
		if err != nil {
			return fmt.Errorf("count the dead letters: %w", err)
		}
		status.DeadLetters, status.Servers = map[string]uint64{}, withServers(status.Servers, info.Cluster)
		for subject, count := range info.State.Subjects {
			status.DeadLetters[strings.TrimPrefix(subject, pipeline.DeadPrefix)] = count
		}
		return nil
	}, pipeline.StreamDead)
	read(func() (err error) {
		status.Members, err = o.processes.Members(ctx)
		return err
	}, checkpoints)
	if err := reads.Wait(); err != nil {
		return Status{}, fmt.Errorf("read the pending messages: %w", err)
	}
	// Without webhooks their reader has no cursor.
	status.Readers = slices.DeleteFunc(found, func(r ReaderStatus) bool { return r.Reader == "" || r.Reader == webhooks.cursor && r.Cursor == 0 })
	return status, nil
}

func shares(live map[string]pipeline.WorkerBeat) (workers []WorkerShare, unowned []string) {
	workers = []WorkerShare{}
	owner := work.Owners(live)
	for _, name := range slices.Sorted(maps.Keys(live)) {
		share := WorkerShare{
			Worker: name, OnedUnreachable: live[name].OnedUnreachable, Blocked: live[name].Blocked, Partitions: []int{},
			Router: owner[pipeline.RouterKey] == name, Autoscaler: owner[pipeline.AutoscalerKey] == name,
		}
		for partition := range pipeline.Partitions {
			if owner[pipeline.PartitionKey(partition)] == name {
				share.Partitions = append(share.Partitions, partition)
			}
		}
		workers = append(workers, share)
	}
	return workers, slices.DeleteFunc(pipeline.Keys(), func(key string) bool { return owner[key] != "" })
}

// reader is a reader that saves its position in a stream.
type reader struct{ cursor, stream, filter string }

var (
	router   = reader{pipeline.RouterKey, pipeline.StreamONE, pipeline.SubjectsEvents}
	webhooks = reader{pipeline.WebhooksCursor, pipeline.StreamFlow, pipeline.SubjectsFlow}
)
