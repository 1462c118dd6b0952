package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// Bridge carries what the hook managers of one zone publish, each a feed of its
// own. Several bridges can hear the same.
type Bridge struct {
	config  Config
	store   store
	cloud   cloud
	zone    zone
	log     *slog.Logger
	metrics *metrics
	filter  filter
	feeds   []*feed
	// asked has room for one request to compare.
	asked chan struct{}

	mu      sync.Mutex
	resyncs resyncState

	hearing, publishing         context.Context
	stopHearing, stopPublishing context.CancelFunc
	ended                       chan struct{}
}

// New makes a bridge that is not running. Without oned there is no resync, and
// what ZeroMQ loses stays lost.
func New(config Config, p *pipeline.Pipeline, oned *opennebula.Client) *Bridge {
	var asked cloud
	var z zone
	if oned != nil {
		asked, z = oned.Server(), onedZone{oned, config.XMLRPC}
	}
	return newBridge(config, newStore(p), asked, z)
}

func newBridge(config Config, s store, oned cloud, z zone) *Bridge {
	config = config.withDefaults()
	pass, _ := newFilter(config) // Start tells what is wrong with it
	return &Bridge{
		filter:  pass,
		config:  config,
		store:   s,
		cloud:   oned,
		zone:    z,
		log:     config.Logger,
		metrics: newMetrics(config.Registerer),
		asked:   make(chan struct{}, 1),
	}
}

// Start begins to hear and to publish, and returns at once: the publishers need
// not be there yet. ctx bounds nothing but the start. The error is that of an
// endpoint which is no address, of a filter that names what does not exist, or that
// nobody is to be listened to: without endpoints in the configuration oned is asked
// for those of its zone.
func (b *Bridge) Start(ctx context.Context) error {
	if b.ended != nil {
		return errors.New("the bridge is started already")
	}
	var err error
	if b.filter, err = newFilter(b.config); err != nil {
		return err
	}
	endpoints, err := b.endpoints(ctx)
	if err != nil {
		return err
	}
	b.filter.warn(b.log)
	b.feeds = nil
	for _, endpoint := range distinct(endpoints) {
		address, err := address(endpoint)
		if err != nil {
			return err
		}
		b.feeds = append(b.feeds, newFeed(b, endpoint, address))
	}
	detached := context.WithoutCancel(ctx)
	b.publishing, b.stopPublishing = context.WithCancel(detached)
	b.hearing, b.stopHearing = context.WithCancel(b.publishing)
	b.ended = make(chan struct{})
	if err := b.config.Registerer.Register(b.collector()); err != nil {
		b.log.Debug("another bridge of this process tells how its feeds are", "error", err)
	}
	go b.run()
	return nil
}

// distinct leaves out what is there twice: two servers of one host.
func distinct(list []string) []string {
	var kept []string
	for _, one := range list {
		if !slices.Contains(kept, one) {
			kept = append(kept, one)
		}
	}
	return kept
}

// endpoints are the configured ones, or else those of the zone's servers.
func (b *Bridge) endpoints(ctx context.Context) ([]string, error) {
	if len(b.config.Endpoints) > 0 {
		return b.config.Endpoints, nil
	}
	if b.zone == nil {
		return nil, errors.New("the bridge has no hook endpoint to listen to: give one, tcp://host:2101")
	}
	found, err := b.zone.hookEndpoints(ctx, b.config.Zone)
	if err != nil {
		return nil, fmt.Errorf("find out which hook endpoints zone %d has: %w; name them, tcp://host:2101", b.config.Zone, err)
	}
	return found, nil
}

func (b *Bridge) collector() *statusCollector { return &statusCollector{b} }

// drainTime bounds how long Stop waits for JetStream to take what was heard.
const drainTime = time.Second

// Stop ends hearing at once, stores what was heard as far as JetStream takes it
// within a second and ctx, gives the feeds up and returns when everything has
// ended. What was not stored the next bridge has heard, or finds by comparing.
func (b *Bridge) Stop(ctx context.Context) error {
	if b.ended == nil {
		return nil
	}
	b.stopHearing()
	b.config.Registerer.Unregister(b.collector())
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

func (b *Bridge) run() {
	defer close(b.ended)
	var group sync.WaitGroup
	for _, f := range b.feeds {
		group.Go(func() { f.run(b.hearing, b.publishing) })
		if b.zone != nil {
			group.Go(func() { b.attend(b.hearing, f) })
		}
	}
	if b.cloud != nil {
		group.Go(func() { b.compareRegularly(b.hearing) })
	}
	group.Wait()
}

// holdsAny reports whether this bridge publishes a feed; holdsFirst whether it publishes
// the first by name, and compares from time to time for all.
func (b *Bridge) holdsAny() bool {
	for _, f := range b.feeds {
		if f.holds() {
			return true
		}
	}
	return false
}

func (b *Bridge) holdsFirst() bool {
	first := b.feeds[0]
	for _, f := range b.feeds {
		if f.name < first.name {
			first = f
		}
	}
	return first.holds()
}
