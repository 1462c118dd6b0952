package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// Bridge carries one feed: everything that one zone's hook managers publish.
type Bridge struct {
	config     Config
	store      store
	cloud      cloud
	translator *translator
	log        *slog.Logger
	metrics    *metrics
	listeners  []*listener
	// asked has room for one request to compare.
	asked chan struct{}
	// number counts items over all takings of the feed.
	number uint64

	mu    sync.Mutex
	state state
	queue *queue

	hearing, publishing         context.Context
	stopHearing, stopPublishing context.CancelFunc
	ended                       chan struct{}
}

// New makes a bridge that is not running. Without oned there is no resync, and
// what ZeroMQ loses stays lost.
func New(config Config, p *pipeline.Pipeline, oned *opennebula.Client) *Bridge {
	var asked cloud
	if oned != nil {
		asked = oned.Server()
	}
	return newBridge(config, pipelineStore{p}, asked)
}

func newBridge(config Config, s store, oned cloud) *Bridge {
	config = config.withDefaults()
	return &Bridge{
		config:     config,
		store:      s,
		cloud:      oned,
		translator: &translator{zone: config.Zone, objects: config.Objects, calls: config.Calls, epoch: nuid.Next()},
		log:        config.Logger.With("feed", config.Feed),
		metrics:    newMetrics(config.Registerer),
		asked:      make(chan struct{}, 1),
	}
}

// Start begins to hear and to publish, and returns at once: the publishers need
// not be there yet. ctx bounds nothing but the start. The error is that of an
// endpoint which is no address.
func (b *Bridge) Start(ctx context.Context) error {
	if b.ended != nil {
		return errors.New("the bridge is started already")
	}
	if len(b.config.Endpoints) == 0 {
		return errors.New("the bridge has no hook endpoint to listen to: give one, tcp://host:2101")
	}
	b.listeners = nil
	for _, endpoint := range b.config.Endpoints {
		address, err := address(endpoint)
		if err != nil {
			return err
		}
		b.listeners = append(b.listeners, &listener{
			endpoint: endpoint, address: address, topics: b.config.topics(), log: b.log, lost: b.ask, metrics: b.metrics,
		})
	}
	detached := context.WithoutCancel(ctx)
	b.publishing, b.stopPublishing = context.WithCancel(detached)
	b.hearing, b.stopHearing = context.WithCancel(b.publishing)
	b.ended = make(chan struct{})
	go b.run()
	return nil
}

// drainTime bounds how long Stop waits for JetStream to take what was heard.
const drainTime = time.Second

// Stop ends hearing at once, stores what was heard as far as JetStream takes it
// within a second and ctx, and returns when everything has ended. What was not
// stored the next bridge finds by comparing.
func (b *Bridge) Stop(ctx context.Context) error {
	if b.ended == nil {
		return nil
	}
	b.stopHearing()
	drain, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	select {
	case <-b.ended:
	case <-drain.Done():
	}
	b.stopPublishing()
	select {
	case <-b.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the bridge: %w", ctx.Err())
	}
}

// ask has a comparison made soon.
func (b *Bridge) ask(cause string) {
	b.log.Debug("a comparison with oned is asked for", "cause", cause)
	signal(b.asked)
}

// run takes the feed, and takes it back some time after another has taken it.
func (b *Bridge) run() {
	defer close(b.ended)
	for b.hearing.Err() == nil {
		l, err := b.take()
		if err != nil {
			return // hearing has ended
		}
		err = b.serve(l)
		b.holding(false)
		if !errors.Is(err, pipeline.ErrSuperseded) {
			return
		}
		b.log.Warn("another bridge has taken the feed over; this one keeps away for a while",
			"holder", b.config.Holder, "for", b.config.Standby, "mend", "give each of several bridges endpoints or a feed of its own")
		if sleep(b.hearing, b.config.Standby) != nil {
			return
		}
	}
}

// take tries until it has the feed or hearing ends.
func (b *Bridge) take() (lease, error) {
	pause := firstPause
	for {
		l, err := b.store.acquire(b.hearing, b.config.Feed, b.config.Holder)
		if err == nil {
			b.storing(nil)
			b.holding(true)
			return l, nil
		}
		if b.hearing.Err() != nil {
			return nil, err
		}
		b.storing(err)
		if err := sleep(b.hearing, pause); err != nil {
			return nil, err
		}
		pause = min(2*pause, longestPause)
	}
}

// serve hears, compares and publishes for as long as the lease lasts.
func (b *Bridge) serve(l lease) error {
	q := newQueue(b.config.MaxQueueBytes, &b.number)
	b.mu.Lock()
	b.queue = q
	b.mu.Unlock()
	hearing, stop := context.WithCancel(b.hearing)
	defer stop()
	var producers sync.WaitGroup
	for _, listener := range b.listeners {
		producers.Go(func() { listener.run(hearing, q) })
	}
	b.ask("the feed was taken")
	producers.Go(func() { b.resyncs(hearing, q) })
	var finishing sync.WaitGroup
	finishing.Go(func() {
		producers.Wait()
		q.finish()
	})
	err := b.publish(b.publishing, q, l)
	stop()
	finishing.Wait()
	if left, _ := q.length(); left > 0 && err != nil {
		b.log.Warn("hook events were not stored; the next comparison with oned finds what they told", "events", left)
	}
	return err
}
