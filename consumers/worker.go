package consumers

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/flowjet/flowjet/consumers/routing"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Config is a worker's configuration.
type Config struct {
	// ID is the worker's name among all workers; it must be unique.
	ID string
	// Settings are the domain's.
	Settings flow.Settings
	// MaxCalls bounds the calls to oned under way at once, default 10.
	MaxCalls int64
	// ScanInterval is how often all service documents are scanned for services that nothing wakes, default 2 minutes.
	ScanInterval time.Duration
	// AwaitDocument is how long a command waits for its service's document, which the API has just made, default 15 s.
	AwaitDocument time.Duration
	// TrustOwner is how long it is cached that a service's owner exists, and in which groups, default 10 s.
	TrustOwner time.Duration
	// RecheckAfter is how long a command may have waited until its user's right is checked again, default 30 s.
	RecheckAfter time.Duration
	// ConfirmDamage is how long a stream must end before the last message read from it until it counts as damaged and is repaired, default
	// 10 s.
	ConfirmDamage time.Duration
	// DoubtOned is how long the zone's leader may be unknown here before other workers, that know it, take over, default 10 s: elections
	// are shorter.
	DoubtOned time.Duration
	// Hearing reports whether a bridge forwards all hook events; nil if unknown.
	Hearing func() bool
	// Handling is called with each input just before it is handled, and must not block; may be nil.
	Handling func(work pipeline.Work)
	Logger   *slog.Logger
	// Registerer receives the worker's metrics; nil keeps them private.
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	defaults := flow.DefaultSettings()
	c.MaxCalls = cmp.Or(max(c.MaxCalls, 0), 10)
	c.ScanInterval = cmp.Or(max(c.ScanInterval, 0), 2*time.Minute)
	c.AwaitDocument = cmp.Or(max(c.AwaitDocument, 0), 15*time.Second)
	c.TrustOwner = cmp.Or(max(c.TrustOwner, 0), 10*time.Second)
	c.RecheckAfter = cmp.Or(max(c.RecheckAfter, 0), 30*time.Second)
	c.ConfirmDamage = cmp.Or(max(c.ConfirmDamage, 0), 10*time.Second)
	c.DoubtOned = cmp.Or(max(c.DoubtOned, 0), 10*time.Second)
	c.Settings = cmp.Or(c.Settings, defaults)
	c.Settings.AutoscalerInterval = cmp.Or(max(c.Settings.AutoscalerInterval, 0), defaults.AutoscalerInterval)
	c.Settings.RetryFor = cmp.Or(max(c.Settings.RetryFor, 0), defaults.RetryFor)
	if c.Hearing == nil {
		c.Hearing = func() bool { return false }
	}
	if c.Handling == nil {
		c.Handling = func(pipeline.Work) {}
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// clients are the JetStream clients of a worker.
type clients struct {
	routing.Clients
	*work.Timers
	*history.History
	*deadletters.Store
}

// Worker drives the services that it owns.
type Worker struct {
	config    Config
	pipe      clients
	oned      *opennebula.Client
	box       *seal.Box
	owners    owners
	calls     *semaphore.Weighted
	scheduler *scheduler
	outside   *semaphore.Weighted // service loops that publish their history, without a slot
	metrics   *metrics
	health    health
	services  *routing.Services
	router    *routing.Router
	database  *database

	mutex sync.Mutex
	tasks map[string]*task // by ownership key, the last one of each
	stop  context.CancelFunc
	done  chan struct{}
}

// task runs while its key is ours.
type task struct {
	stop  context.CancelFunc
	owned bool
	done  chan struct{}
}

// New makes a worker that is not running.
func New(config Config, pipe *pipeline.Pipeline, oned *opennebula.Client) *Worker {
	config = config.withDefaults()
	config.Settings.ServerUser = oned.ServerUser()
	w := &Worker{
		config: config,
		pipe: clients{
			routing.Clients{Pipeline: pipe, Queue: work.NewQueue(pipe), Records: work.NewRecords(pipe), Objects: work.NewObjects(pipe), Commands: command.New(pipe)},
			work.NewTimers(pipe), history.New(pipe), deadletters.New(pipe),
		},
		oned:      oned,
		box:       oned.Box(),
		owners:    owners{oned: oned},
		calls:     semaphore.NewWeighted(config.MaxCalls),
		scheduler: &scheduler{slots: int(config.MaxCalls+1) / 2, reserved: int(config.MaxCalls)},
		outside:   semaphore.NewWeighted(maxOutside),
		metrics:   newMetrics(config.Registerer),
		health:    health{logger: config.Logger, held: map[int]string{}},
		tasks:     map[string]*task{},
	}
	w.services = &routing.Services{Oned: oned, Queue: w.pipe.Queue, Logger: config.Logger}
	w.router = &routing.Router{
		Services: w.services, Pipe: w.pipe.Clients,
		ScanInterval: config.ScanInterval, LeaderChange: config.Settings.VMDeadlines.LeaderChange,
		ConfirmDamage: config.ConfirmDamage, Routed: w.metrics.routed,
	}
	w.database = &database{pipe: pipe, oned: oned, logger: config.Logger, services: w.services}
	return w
}

// Start joins the workers and takes over its share. Starting a running worker does nothing.
func (w *Worker) Start(ctx context.Context) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.done != nil {
		return nil
	}
	records, err := w.pipe.Extent(ctx, pipeline.StreamOf(pipeline.BucketState))
	if err != nil {
		return err
	}
	w.router.Written = records.Stored
	members, err := work.Join(ctx, w.pipe.Pipeline, w.config.ID)
	if err != nil {
		return err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop, w.done = stop, make(chan struct{})
	go w.follow(life, members, w.done)
	return nil
}

// Stop leaves the workers and waits, no longer than ctx, for running tasks.
func (w *Worker) Stop(ctx context.Context) error {
	w.mutex.Lock()
	stop, done := w.stop, w.done
	w.stop, w.done = nil, nil
	w.mutex.Unlock()
	if done == nil {
		return nil
	}
	stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop worker %s: %w", w.config.ID, ctx.Err())
	}
}

// follow runs a task for every key that is ours, for as long as it is.
func (w *Worker) follow(ctx context.Context, members *work.Membership, done chan struct{}) {
	defer close(done)
	w.database.begin(ctx)
	var watches sync.WaitGroup
	watches.Go(func() { w.watchOned(ctx, members) })
	watches.Go(func() { w.database.watch(ctx, w.config.ScanInterval) })
	watches.Go(func() { w.router.WatchStreams(ctx, func() bool { return w.Owns(pipeline.RouterKey) }) })
	for ctx.Err() == nil {
		w.adjust(ctx, members.Owned())
		select {
		case <-ctx.Done():
		case <-members.Changes():
		}
	}
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	members.Leave(leave)
	watches.Wait()
	w.adjust(ctx, nil)
	w.mutex.Lock()
	tasks := slices.Collect(maps.Values(w.tasks))
	w.mutex.Unlock()
	for _, stopping := range tasks {
		<-stopping.done
	}
}

// adjust stops the tasks whose keys are no longer ours, without waiting for them, and starts those of new keys once the last task of the
// same key has ended.
func (w *Worker) adjust(ctx context.Context, owned map[string]bool) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for key, running := range w.tasks {
		if running.owned && !owned[key] {
			running.owned = false
			running.stop()
		}
	}
	for key := range owned {
		before := w.tasks[key]
		if before != nil && before.owned {
			continue
		}
		life, stop := context.WithCancel(ctx)
		started := &task{stop: stop, owned: true, done: make(chan struct{})}
		w.tasks[key] = started
		go func() {
			defer close(started.done)
			if before != nil {
				<-before.done
			}
			w.run(life, key)
		}()
	}
	w.metrics.owned.Set(float64(len(owned)))
}

// run does the key's task again and again until the key is no longer ours.
func (w *Worker) run(ctx context.Context, key string) {
	var job func(context.Context) error
	switch key {
	case pipeline.RouterKey:
		anew := true
		job = func(ctx context.Context) error {
			defer func() { anew = false }()
			return w.router.Run(ctx, anew)
		}
	case pipeline.AutoscalerKey:
		job = (&routing.Autoscaler{Services: w.services, Interval: w.config.Settings.AutoscalerInterval, Measured: w.metrics.measured}).Run
	default:
		number := slices.Index(pipeline.Keys(), key)
		job = func(ctx context.Context) error { return w.runPartition(ctx, number) }
	}
	for retry := idle.NewBackoff(); ctx.Err() == nil; retry.Wait(ctx) {
		err := w.guarded(func() error { return job(ctx) }, "task", key)
		if ctx.Err() != nil {
			return
		}
		w.config.Logger.Warn("the worker's task stopped and starts again", "task", key, "error", err)
	}
}

// guarded turns a panic of a step, which the attributes describe, into an error: one tenant's input must not end the process for all.
func (w *Worker) guarded(step func() error, attributes ...any) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			w.metrics.panics.Inc()
			w.config.Logger.Error("a decision failed", append(attributes, "cause", cause, "stack", string(debug.Stack()))...)
			err = fmt.Errorf("%w: %v", errPoison, cause)
		}
	}()
	return step()
}

// Owns reports whether this worker has the key's task now.
func (w *Worker) Owns(key string) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	running := w.tasks[key]
	return running != nil && running.owned
}

// Degraded returns since when and why services are delayed; reason is empty if none is.
func (w *Worker) Degraded() (reason string, since time.Time) {
	w.health.mutex.Lock()
	defer w.health.mutex.Unlock()
	return w.health.reason, w.health.changed
}
