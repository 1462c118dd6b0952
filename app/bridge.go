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
	{"bridge-spill-mib", "bridge.spill_mib", "disk for those that find no room there, in MiB, under the data folder; 0 for none", 1024},
}

// BridgeConfig is the bridge's part of Config.
type BridgeConfig struct {
	Objects  []string `koanf:"objects"`
	States   []string `koanf:"states"`
	Calls    []string `koanf:"calls"`
	SpillMiB int      `koanf:"spill_mib"`
}

func (a bridging) startBridge(ctx context.Context) error {
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
		SpillDir:      filepath.Join(a.config.DataDir, "bridge"),
		MaxSpillBytes: spill,
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
func (a bridging) startBridgeLater(ctx context.Context, b *bridge.Bridge, why error) {
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

// bridging starts the bridge, now or as soon as it can.
type bridging struct{ *App }
