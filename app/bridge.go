package app

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/restapi"
)

// bridgeOptions are those of the bridge.
var bridgeOptions = []option{
	{"bridge-objects", "bridge.objects", "objects whose state changes are stored: vm, net, host, image; services need vm and net", []string{"vm", "net", "host", "image"}},
	{"bridge-states", "bridge.states", "the only states stored of the objects named here, as vm/DONE, vm/ACTIVE/RUNNING or host/ERROR; without any, all", []string(nil)},
	{"bridge-calls", "bridge.calls", "API calls whose success or failure is stored, with the object's id and no argument but READY; services need one.vm.update", []string{"one.vm.update"}},
	{"bridge-queue-mib", "bridge.queue_mib", "memory for the events of one endpoint while JetStream is away, in MiB", 48},
	{"bridge-spill-mib", "bridge.spill_mib", "disk for those that find no room there, in MiB, under the data folder; 0 for none", 1024},
	{"bridge-standby", "bridge.standby", "silence after which a bridge takes an endpoint over from the one that publishes it", time.Second},
	{"bridge-keep", "bridge.keep", "how long a bridge on standby keeps what it hears", 30 * time.Second},
	{"bridge-quiet", "bridge.quiet", "silence of an endpoint after which its oned is made to say something", 30 * time.Second},
	{"bridge-resync-interval", "bridge.resync_interval", "how often oned's VMs and networks are compared with the stored events", 5 * time.Minute},
	{"bridge-resync-page", "bridge.resync_page", "how many VMs a comparison asks for at a time", 1000},
}

// BridgeConfig is the bridge's part of Config.
type BridgeConfig struct {
	Objects        []string      `koanf:"objects"`
	States         []string      `koanf:"states"`
	Calls          []string      `koanf:"calls"`
	QueueMiB       int           `koanf:"queue_mib"`
	SpillMiB       int           `koanf:"spill_mib"`
	Standby        time.Duration `koanf:"standby"`
	Keep           time.Duration `koanf:"keep"`
	Quiet          time.Duration `koanf:"quiet"`
	ResyncInterval time.Duration `koanf:"resync_interval"`
	ResyncPage     int           `koanf:"resync_page"`
}

func (a *App) startBridge(ctx context.Context) error {
	c := a.config.Bridge
	spill := int64(c.SpillMiB) << 20
	if spill == 0 {
		spill = -1
	}
	b := bridge.New(bridge.Config{
		Zone:          a.config.Zone,
		Endpoints:     a.config.One.Hooks,
		XMLRPC:        a.config.One.XMLRPC[0],
		Objects:       append([]string{}, c.Objects...), // none given is none, not the default
		States:        c.States,
		Calls:         append([]string{}, c.Calls...),
		Holder:        name("bridge"),
		MaxQueueBytes: int64(c.QueueMiB) << 20,
		SpillDir:      filepath.Join(a.config.DataDir, "bridge"),
		MaxSpillBytes: spill,
		Resync:        bridge.ResyncConfig{Every: c.ResyncInterval, PageSize: c.ResyncPage},
		Standby:       c.Standby,
		Keep:          c.Keep,
		Quiet:         c.Quiet,
		Logger:        a.logger.With("part", "bridge"),
		Registerer:    a.metrics,
	}, a.pipe, a.oned)
	a.onStop(b.Stop)
	err := b.Start(ctx)
	switch {
	case err == nil:
		a.bridge.Store(b)
	case opennebula.Temporary(err):
		a.startBridgeLater(ctx, b, err)
	default:
		return fmt.Errorf("%w (see --one-hooks and --bridge-…)", err)
	}
	return nil
}

// startBridgeLater starts a bridge that has to ask oned which servers the zone has,
// when oned answers.
func (a *App) startBridgeLater(ctx context.Context, b *bridge.Bridge, why error) {
	a.logger.Warn("the bridge waits for oned to say where hook events come from; it goes on by itself", "reason", why)
	a.background(ctx, func(ctx context.Context) {
		for idle.For(ctx, time.Second) == nil {
			switch err := b.Start(ctx); {
			case err == nil:
				a.bridge.Store(b)
				return
			case !opennebula.Temporary(err):
				a.contact.failed <- fmt.Errorf("%w (see --one-hooks and --bridge-…)", err)
				return
			}
		}
	})
}

// feeds tells how the bridge of this process hears each endpoint.
func (a *App) feeds() []restapi.FeedHealth {
	b := a.bridge.Load()
	if b == nil {
		return nil
	}
	var feeds []restapi.FeedHealth
	now := time.Now()
	for _, status := range b.Status() {
		feeds = append(feeds, restapi.FeedHealth{
			Endpoint: status.Endpoint, Connected: status.Connected, SilentSeconds: int(status.SilentFor(now).Seconds()),
			EventsPerSecond: status.Rate, Gaps: status.Gaps, LastResync: status.LastResync, Role: status.Role, Leads: status.Leads(),
			Publishes: status.Holding, Waiting: status.QueueLength, Spilled: status.Spilled, Error: firstOf(status.Error, status.StoreError, status.ResyncError),
		})
	}
	return feeds
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// feedEndpoints are the addresses at which hook events are heard.
func (a *App) feedEndpoints() []string {
	b := a.bridge.Load()
	if b == nil {
		return a.config.One.Hooks
	}
	var endpoints []string
	for _, status := range b.Status() {
		endpoints = append(endpoints, status.Endpoint)
	}
	return endpoints
}
