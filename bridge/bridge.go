package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// Bridge stores the events of one zone's hook managers, in a feed each. Several bridges can receive the same events.
type Bridge struct {
	config   Config
	store    store
	cloud    cloud // nil without a oned to compare with
	zone     zone
	log      *slog.Logger
	metrics  *metrics
	filter   filter
	resyncer *resyncer

	feedsMutex sync.Mutex
	feeds      []*feed // all returns them: the zone may get servers while the bridge runs

	hearing, publishing         context.Context
	stopHearing, stopPublishing context.CancelFunc
	ended                       chan struct{}
}

// New makes a bridge that is not running. Without oned nothing is compared, and events that ZeroMQ loses stay lost.
func New(config Config, p *pipeline.Pipeline, oned *opennebula.Client) *Bridge {
	if oned == nil {
		return newBridge(config, newStore(p), nil, nil)
	}
	return newBridge(config, newStore(p), oned.Server(), onedZone{oned, config.XMLRPC})
}

func newBridge(config Config, s store, oned cloud, z zone) *Bridge {
	config = config.withDefaults()
	b := &Bridge{config: config, store: s, cloud: oned, zone: z, log: config.Logger, metrics: newMetrics(config.Registerer)}
	b.filter, _ = newFilter(config.Events) // Start returns its error
	b.resyncer = &resyncer{Bridge: b, requests: make(chan struct{}, 1)}
	return b
}

// Start begins to receive and to publish, and returns at once: the publishers need not be up yet.
// ctx bounds only the start. Without endpoints in the configuration, oned is asked for those of its
// zone. The error is about a wrong address or filter, or a missing endpoint.
func (b *Bridge) Start(ctx context.Context) error {
	if b.ended != nil {
		return errors.New("the bridge is already running")
	}
	var err error
	if b.filter, err = newFilter(b.config.Events); err != nil {
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
	if _, err := b.addFeeds(endpoints); err != nil {
		return err
	}
	b.publishing, b.stopPublishing = context.WithCancel(context.WithoutCancel(ctx))
	b.hearing, b.stopHearing = context.WithCancel(b.publishing)
	b.ended = make(chan struct{})
	b.config.Registerer.MustRegister(&statusCollector{b})
	go b.run()
	return nil
}

// addFeeds makes a feed of each endpoint that has none yet, and returns these feeds.
func (b *Bridge) addFeeds(endpoints []string) (added []*feed, err error) {
	b.feedsMutex.Lock()
	defer b.feedsMutex.Unlock()
	for _, endpoint := range endpoints {
		if slices.ContainsFunc(b.feeds, func(f *feed) bool { return f.listener.endpoint == endpoint }) {
			continue // two servers of one host, or known before
		}
		f, err := newFeed(b, endpoint)
		if err != nil {
			return added, err
		}
		b.feeds, added = append(b.feeds, f), append(added, f)
	}
	return added, nil
}

// all returns the feeds.
func (b *Bridge) all() []*feed {
	b.feedsMutex.Lock()
	defer b.feedsMutex.Unlock()
	return slices.Clone(b.feeds)
}

// sameHostBefore counts the feeds of the same host that come before the feed.
func (b *Bridge) sameHostBefore(f *feed) (count int) {
	host, _ := hostOf(f.listener.endpoint)
	for _, other := range b.all() {
		if other == f {
			break
		}
		if its, _ := hostOf(other.listener.endpoint); its == host {
			count++
		}
	}
	return count
}

// drainTime bounds how long Stop waits for JetStream to store the received events.
const drainTime = time.Second

// Stop stops receiving at once, stores the received events as far as JetStream accepts them within a second and
// ctx, and releases the feeds. Events that were not stored have reached the next bridge too, or a comparison finds them.
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
	hear := func(feeds []*feed) {
		for _, f := range feeds {
			hearing, stop := context.WithCancel(b.hearing)
			f.stop = stop
			group.Go(func() {
				defer stop()
				f.run(hearing, b.publishing)
				if f.retired.Load() {
					b.feedsMutex.Lock()
					b.feeds = slices.DeleteFunc(b.feeds, func(other *feed) bool { return other == f })
					b.feedsMutex.Unlock()
				}
			})
			if b.zone != nil {
				m := &monitor{feed: f, before: b.sameHostBefore(f)}
				group.Go(func() { m.run(hearing) })
			}
		}
	}
	hear(b.all())
	if len(b.config.Endpoints) == 0 {
		group.Go(func() { b.followZone(hear) })
	}
	if b.cloud != nil {
		group.Go(func() { b.resyncer.run(b.hearing) })
	}
	group.Wait()
}

// zoneEvery is how often the zone is asked for its servers. Tests shorten it.
var zoneEvery = time.Minute

// retireAfter is how many times in a row the zone has to lack a server that is not connected, until its feed ends: the list of a server that
// is behind may lack one.
const retireAfter = 5

// followZone connects to the servers that the zone gets while the bridge runs, and ends the feeds of those that it loses.
func (b *Bridge) followZone(hear func([]*feed)) {
	lacked := map[*feed]int{}
	inherited := false
	for idle.For(b.hearing, zoneEvery) == nil {
		endpoints, err := b.zone.hookEndpoints(b.hearing, b.config.Zone)
		if err != nil {
			b.log.Debug("cannot get the zone's servers, retrying", "error", err)
			continue
		}
		if !inherited {
			feeds, err := b.inheritFeeds()
			if err != nil {
				b.log.Debug("cannot read which feeds there were, retrying", "error", err)
			}
			hear(feeds)
			inherited = err == nil
		}
		added, err := b.addFeeds(endpoints)
		if err != nil {
			b.log.Warn("a server of the zone has an endpoint for hook events that is not an address", "error", err)
		}
		for _, f := range added {
			b.log.Info("the zone has a new server, whose events are received from now on", "endpoint", f.listener.endpoint)
		}
		hear(added)
		before := lacked
		lacked = map[*feed]int{}
		for _, f := range b.all() {
			f.mu.Lock()
			busy := f.status.Connected || f.status.StoreError != "" // it receives, or JetStream does not store what it received
			f.mu.Unlock()
			if busy || slices.Contains(endpoints, f.listener.endpoint) {
				continue
			}
			if lacked[f] = before[f] + 1; lacked[f] == retireAfter {
				b.log.Info("the zone no longer has a server, whose feed ends", "endpoint", f.listener.endpoint)
				f.retired.Store(true)
				f.stop()
			}
		}
	}
}

// inheritFeeds adds the feeds that bridges published before: those of a server that left the zone while no bridge ran would have leases, and
// be expected, until the stream drops these.
func (b *Bridge) inheritFeeds() ([]*feed, error) {
	names, err := b.store.Expected(b.hearing)
	if err != nil {
		return nil, err
	}
	var endpoints []string
	for _, name := range names {
		address, ours := strings.CutPrefix(name, feedName(b.config.Zone, ""))
		if ours && !strings.Contains(address, "@") { // another host's loopback address leads to another server from here
			endpoints = append(endpoints, "tcp://"+address)
		}
	}
	return b.addFeeds(endpoints)
}

// Config sets what to receive and which events pass. Zero values mean the defaults named at each field.
type Config struct {
	// Zone is the OpenNebula zone's id, a part of every subject.
	Zone int
	// Endpoints are the hook managers' addresses, tcp://host:2101, one for each oned of the zone.
	// Without any, oned is asked for the zone's servers, and the usual port of each is used.
	Endpoints []string
	// XMLRPC is the address at which oned answers. A zone that lists no servers has its hook manager there.
	XMLRPC string
	// Events are the events that pass: all state changes of vm, net, host or image, or of one state, as vm/DONE or
	// vm/ACTIVE/RUNNING; and API calls, as one.vm.update or one.vm.*. The bodies of API events hold what
	// users sent, but only the id and READY are ever read from one.
	Events []string
	// Holder is this bridge's name in a feed's lease, for operators; the host's name by default.
	Holder string
	// MaxQueueBytes bounds the events of a feed in memory; 48 MiB, about 60,000 events. Messages
	// not decoded yet use up to 16 MiB more, and 12 MiB of the unused part of this.
	MaxQueueBytes int64
	// SpillDir is a folder for the events of a feed that exceed the memory while JetStream is
	// unreachable, at most 1 GiB. Without a folder, and beyond the bound, events are
	// dropped, and replaced by comparing oned with the stored events.
	SpillDir string
	// ResyncEvery is the time between two comparisons of oned's VMs and networks with the stored events; 5 min.
	ResyncEvery time.Duration
	// ResyncSettle is the time after which a comparison caused by a connect or an overflow is
	// repeated, because a subscription may reach the publisher late; 2 s.
	ResyncSettle time.Duration
	// Standby is the silence after which a bridge takes a feed over from its holder,
	// which sends heartbeats five times as often; 1 s.
	Standby time.Duration
	// Quiet is the silence of a publisher after which it is probed (see monitor); 30 s.
	Quiet      time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	c.MaxQueueBytes = cmp.Or(c.MaxQueueBytes, 48<<20)
	c.Standby = cmp.Or(c.Standby, time.Second)
	c.Quiet = cmp.Or(c.Quiet, 30*time.Second)
	c.ResyncEvery = cmp.Or(c.ResyncEvery, 5*time.Minute)
	c.ResyncSettle = cmp.Or(c.ResyncSettle, 2*time.Second)
	c.Holder = cmp.Or(c.Holder, pipeline.Hostname()+"-"+nuid.Next())
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	return c
}

// feedName returns the same name in bridges that receive the same events. A loopback address is a different feed on each host.
func feedName(zone int, endpoint string) string {
	name := strings.TrimPrefix(endpoint, "tcp://")
	host, _, err := net.SplitHostPort(name)
	if address := net.ParseIP(host); err == nil && (host == "localhost" || address != nil && address.IsLoopback()) {
		name += "@" + pipeline.Hostname()
	}
	return fmt.Sprintf("zone%d-%s", zone, name)
}

// topics returns the ZeroMQ subscriptions: states in one of their three forms, the chosen calls, and the probes'.
func (c Config) topics() []string {
	topics := []string{opennebula.StateSubscription, opennebula.CallSubscription(probeCall)}
	for _, name := range c.Events {
		if strings.HasPrefix(name, "one.") && name != probeCall {
			topics = append(topics, opennebula.CallSubscription(name))
		}
	}
	return topics
}

// store is the part of the pipeline that the bridge needs.
type store interface {
	watch(feed string) (watch, error)
	LastLease(ctx context.Context, feed string) (pipeline.Lease, uint64, error)
	Expected(ctx context.Context) ([]string, error)
	take(ctx context.Context, feed, holder string, expected uint64) (lease, error)
	index(object string) index
	LoadCursor(ctx context.Context, name string) (uint64, error)
	SaveCursor(ctx context.Context, name string, cursor uint64) error
	PublishFound(ctx context.Context, found []feeds.FoundEvent) (int, error)
	DeadLetter(ctx context.Context, deadLetter pipeline.DeadLetter) error
}

// watch receives the heartbeats of a feed's holder.
type watch interface {
	Changed() <-chan struct{}
	Last() pipeline.FeedBeat
	Silence() time.Duration
	Close()
}

// lease is the right to publish a feed.
type lease interface {
	Publish(ctx context.Context, events []feeds.Event) error
	Stage(events []feeds.Event) (commit func(context.Context) error)
	Tail(ctx context.Context, most int) ([]feeds.StoredEvent, error)
	Beat(leaving, connected bool) error
	Release(ctx context.Context) error
	Retire(ctx context.Context) error
	Sequence() uint64
	Token() string
}

// index is the stored state of each VM, or of each network.
type index interface {
	CatchUp(ctx context.Context) error
	Forget()
	Of(id int) (feeds.StoredObject, bool)
	Same(stored feeds.StoredObject, event pipeline.Event) bool
	All(visit func(id int, stored feeds.StoredObject))
	Event(ctx context.Context, id int) (pipeline.Event, bool, error)
}

// pipelineStore is the store that is used outside of tests.
type pipelineStore struct {
	*pipeline.Pipeline // cursors
	*feeds.Feeds
	*deadletters.Store
}

func newStore(p *pipeline.Pipeline) pipelineStore {
	return pipelineStore{p, feeds.New(p), deadletters.New(p)}
}

func (p pipelineStore) watch(feed string) (watch, error) { return p.Watch(feed) }

func (p pipelineStore) take(ctx context.Context, feed, holder string, expected uint64) (lease, error) {
	return p.Acquire(ctx, feed, holder, expected)
}

func (p pipelineStore) index(object string) index { return p.Index(object) }
