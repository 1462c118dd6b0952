// Package webhooks delivers the services' transitions to external receivers, by HTTP: those of the configuration, and those that
// services name.
//
// One worker, the router, finds the receivers of each transition and queues a delivery for each in the stream HOOK; the
// worker that owns a service delivers them, one after the other for each pair of receiver and service.
//
// Safety: a delivery is deleted only after a receiver has answered with a status of 2xx, or after it became a dead letter, so
// each transition is delivered at least once, and about one service in order. A worker that dies between the answer and the
// deletion, or is overtaken, delivers one again: with the same id. Posts are signed with a secret that is read from a
// file and is in no stream. No request goes to an address of this host or to a link-local one, whatever a name resolves to, and
// no redirect is followed, unless the configuration allows it. Liveness: a receiver that fails is retried with growing
// pauses, which outlive the worker, until the deliveries are too old. A receiver that hangs holds up no other.
package webhooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/work"
)

// checkEvery is how often a deliverer checks its ownership.
const checkEvery = 250 * time.Millisecond

// Config is the configuration of a Deliverer.
type Config struct {
	Settings Settings
	// Owns reports whether this process owns a key now: the router's owner finds receivers, a partition's owner
	// delivers.
	Owns func(key string) bool
	// Version is part of the user agent in posts.
	Version string
	Logger  *slog.Logger
	// Registerer receives the metrics; nil keeps them private.
	Registerer prometheus.Registerer
}

// Deliverer makes the deliveries of its process. It is safe for use by several goroutines.
type Deliverer struct {
	config   Config
	pipe     clients
	logger   *slog.Logger
	metrics  *metrics
	client   *http.Client
	settings atomic.Pointer[Settings]
	attemptSlots
	shares *shares

	mutex sync.Mutex
	loops map[string]*loop // by subject

	stop context.CancelFunc
	done chan struct{}
}

// New makes a deliverer that is not running.
func New(config Config, pipe *pipeline.Pipeline) *Deliverer {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	d := &Deliverer{
		config: config, pipe: newClients(pipe), logger: config.Logger,
		metrics: newMetrics(config.Registerer), shares: newShares(), loops: map[string]*loop{},
		attemptSlots: attemptSlots{
			configured: newSlots(maxPostsOfReceiver, maxPosts),
			toReceiver: newSlots(maxPostsOfReceiver, 0), toHost: newSlots(maxPostsToHost, 0), forOwner: newSlots(maxPostsOfOwner, maxPosts),
		},
	}
	d.client = newClient(d.current)
	d.Reload(config.Settings)
	return d
}

// Reload replaces the settings; attempts under way end with the old ones. Connections to addresses that are now denied are not used again.
func (d *Deliverer) Reload(settings Settings) {
	settings = settings.withDefaults()
	d.settings.Store(&settings)
	d.client.CloseIdleConnections()
}

func (d *Deliverer) current() Settings { return *d.settings.Load() }

// Start begins to deliver new transitions, or goes on where the last deliverer ended. Start it before the worker, so that
// the worker's transitions are delivered. Starting a running deliverer does nothing.
func (d *Deliverer) Start(ctx context.Context) error {
	damage := &cutOff{}
	if _, err := d.begin(ctx, damage); err != nil {
		return err
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.done != nil {
		return nil
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop, d.done = stop, make(chan struct{})
	var tasks sync.WaitGroup
	find := func(ctx context.Context) error { return d.find(ctx, damage) }
	tasks.Go(func() { d.whileOwned(life, []string{pipeline.RouterKey}, find) })
	tasks.Go(func() { d.whileOwned(life, pipeline.Keys()[:pipeline.Partitions], d.deliver) })
	go func(done chan<- struct{}) { tasks.Wait(); close(done) }(d.done)
	return nil
}

// Stop stops the attempts under way and waits for that no longer than ctx.
func (d *Deliverer) Stop(ctx context.Context) error {
	d.mutex.Lock()
	stop, done := d.stop, d.done
	d.stop, d.done = nil, nil
	d.mutex.Unlock()
	if done == nil {
		return nil
	}
	stop()
	select {
	case <-done:
		d.client.CloseIdleConnections()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the webhooks: %w", ctx.Err())
	}
}

// whileOwned runs a task as long as this process owns the same of some keys, and at least one; messages skipped
// because another process owned them are then read again. A task that fails runs again.
func (d *Deliverer) whileOwned(ctx context.Context, keys []string, task func(context.Context) error) {
	owned := func() string {
		return strings.Join(slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !d.config.Owns(key) }), " ")
	}
	for ctx.Err() == nil {
		if now := owned(); now != "" {
			life, cancel := context.WithCancel(ctx)
			go func() {
				for owned() == now && idle.For(life, checkEvery) == nil {
				}
				cancel()
			}()
			_ = task(life)
			changed := life.Err() != nil
			cancel()
			if changed {
				continue
			}
		}
		_ = idle.For(ctx, checkEvery) // the loop checks ctx
	}
}

func (d *Deliverer) owns(service int) bool {
	return d.config.Owns(pipeline.PartitionKey(pipeline.Partition(service)))
}

// deliver passes every subject with a waiting delivery to its loop.
func (d *Deliverer) deliver(ctx context.Context) (err error) {
	defer func() { d.logUnlessOver(ctx, "delivering to webhooks", err) }()
	var loops sync.WaitGroup
	defer loops.Wait()
	life, cancel := context.WithCancel(ctx)
	defer d.endPauses()
	defer cancel()
	return d.pipe.FollowDeliveries(ctx, func(queued deliveries.Queued) {
		if d.owns(queued.Service) {
			d.wake(life, &loops, queued)
		}
	})
}

// logUnlessOver logs a task's failure; the end of ctx is none.
func (d *Deliverer) logUnlessOver(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, pipeline.ErrClosed) {
		d.logger.Warn(what+" stopped and starts again", "error", err)
	}
}

// clients are the clients of JetStream that webhooks use.
type clients struct {
	*pipeline.Pipeline // cursors
	*history.History
	*deliveries.Deliveries
	*work.Records
}

func newClients(p *pipeline.Pipeline) clients {
	return clients{p, history.New(p), deliveries.New(p), work.NewRecords(p)}
}

// servicesLabel stands for all receivers that services name: the number of labels would otherwise have no bound.
const servicesLabel = "services"

type metrics struct {
	outcomes *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	pending  prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	made := promauto.With(registerer)
	return &metrics{
		outcomes: made.NewCounterVec(prometheus.CounterOpts{
			Name: "flowjet_webhooks_attempts_total",
			Help: "Deliveries to webhooks by receiver (services: all receivers set in services) and outcome: delivered, failed (will be retried), dead.",
		}, []string{"receiver", "outcome"}),
		seconds: made.NewHistogramVec(prometheus.HistogramOpts{
			Name: "flowjet_webhooks_attempt_seconds", Help: "Response time of receivers.", Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30},
		}, []string{"receiver"}),
		pending: made.NewGauge(prometheus.GaugeOpts{
			Name: "flowjet_webhooks_pending", Help: "Waiting deliveries, as seen by the worker that runs the router.",
		}),
	}
}

func labelOf(delivery pipeline.Delivery) string { return cmp.Or(delivery.Receiver, servicesLabel) }

func (m *metrics) outcome(delivery pipeline.Delivery, outcome string) {
	m.outcomes.WithLabelValues(labelOf(delivery), outcome).Inc()
}
