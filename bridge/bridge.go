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
	zone    zone
	log     *slog.Logger
	metrics *metrics
	filter  filter
	feeds   []*feed
	// resyncer takes requests also without a oned to compare.
	resyncer *resyncer

	hearing, publishing         context.Context
	stopHearing, stopPublishing context.CancelFunc
	ended                       chan struct{}
}

// New makes a bridge that is not running. Without oned nothing is compared, and what ZeroMQ loses stays lost.
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
	m := newMetrics(config.Registerer)
	return &Bridge{
		filter: pass, config: config, store: s, zone: z, log: config.Logger, metrics: m,
		resyncer: &resyncer{
			zone: config.Zone, config: config.Resync, filter: pass, cloud: oned, store: s, log: config.Logger, metrics: m, requests: make(chan struct{}, 1),
		},
	}
}

// Start begins to hear and to publish, and returns at once: the publishers need not be there yet.
// ctx bounds only the start. Without endpoints in the configuration oned is asked for those of its
// zone. The error is that of an address or a filter that is wrong, or that there is no endpoint.
func (b *Bridge) Start(ctx context.Context) error {
	if b.ended != nil {
		return errors.New("the bridge is already running")
	}
	var err error
	if b.filter, err = newFilter(b.config); err != nil {
		return err
	}
	endpoints := b.config.Endpoints
	if len(endpoints) == 0 {
		if b.zone == nil {
			return errors.New("the bridge has no hook endpoint: set one, tcp://host:2101")
		}
		if endpoints, err = b.zone.hookEndpoints(ctx, b.config.Zone); err != nil {
			return fmt.Errorf("get the hook endpoints of zone %d: %w; set them, tcp://host:2101", b.config.Zone, err)
		}
	}
	b.filter.warn(b.log)
	b.feeds = nil
	for _, endpoint := range endpoints {
		if slices.ContainsFunc(b.feeds, func(f *feed) bool { return f.listener.endpoint == endpoint }) {
			continue // two servers of one host
		}
		f, err := newFeed(b, endpoint)
		if err != nil {
			return err
		}
		b.feeds = append(b.feeds, f)
	}
	b.resyncer.filter, b.resyncer.feeds = b.filter, b.feeds
	detached := context.WithoutCancel(ctx)
	b.publishing, b.stopPublishing = context.WithCancel(detached)
	b.hearing, b.stopHearing = context.WithCancel(b.publishing)
	b.ended = make(chan struct{})
	if err := b.config.Registerer.Register(&statusCollector{b}); err != nil {
		b.log.Debug("register the bridge's metrics: another bridge of this process has registered them", "error", err)
	}
	go b.run()
	return nil
}

// drainTime bounds how long Stop waits for JetStream to take what was heard.
const drainTime = time.Second

// Stop ends hearing at once, stores what was heard as far as JetStream takes it within a second and
// ctx, and gives the feeds up. What was not stored the next bridge has heard, or finds by comparing.
func (b *Bridge) Stop(ctx context.Context) error {
	if b.ended == nil {
		return nil
	}
	b.stopHearing()
	b.config.Registerer.Unregister(&statusCollector{b})
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

func (b *Bridge) run() {
	defer close(b.ended)
	var group sync.WaitGroup
	ofHost := map[string]int{}
	for _, f := range b.feeds {
		group.Go(func() { f.run(b.hearing, b.publishing) })
		if b.zone != nil {
			host, _ := hostOf(f.listener.endpoint)
			m := &monitor{zone: b.zone, zoneID: b.config.Zone, feed: f, before: ofHost[host]}
			ofHost[host]++
			group.Go(func() { m.run(b.hearing) })
		}
	}
	if b.resyncer.cloud != nil {
		group.Go(func() { b.resyncer.run(b.hearing) })
	}
	group.Wait()
}
