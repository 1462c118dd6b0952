package app

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/restapi"
)

// bridgeOptions are those of the bridge.
var bridgeOptions = []option{
	{"bridge-events", "bridge.events", "events to store: all state changes of vm, net, host, image, or of one state, such as vm/DONE, vm/ACTIVE/RUNNING, host/ERROR; and API calls, such as one.vm.chown or one.vm.*, with the object's id and READY but no other argument. Services need vm, net and one.vm.update; lists are kept by the last four", "other systems read OpenNebula's events from NATS, or none but services do", []string{"vm", "net", "host", "image", "one.vm.update", "one.document.*", "one.acl.*", "one.user.*", "one.group.*"}, nil},
}

// events divides bridge.events into objects of which all states pass, or some, and calls.
// An object that is named with a state and without passes in all.
func events(names []string) (objects, states, calls []string) {
	objects, calls = []string{}, []string{} // none given is none, not the default
	for _, name := range names {
		switch object, _, state := strings.Cut(name, "/"); {
		case strings.HasPrefix(name, "one."):
			calls = append(calls, name)
		case !state:
			objects = append(objects, name)
		case !slices.Contains(names, object):
			objects, states = append(objects, object), append(states, name)
		}
	}
	return objects, states, calls
}

func (a bridging) startBridge(ctx context.Context) error {
	objects, states, calls := events(a.config.Bridge.Events)
	b := bridge.New(bridge.Config{
		Zone:       a.config.Zone,
		Endpoints:  a.config.One.Hooks,
		XMLRPC:     a.config.One.XMLRPC[0],
		Objects:    objects,
		States:     states,
		Calls:      calls,
		Holder:     name("bridge"),
		SpillDir:   filepath.Join(a.config.DataDir, "bridge"),
		Logger:     a.logger.With("part", "bridge"),
		Registerer: a.metrics,
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
	a.logger.Warn("cannot get the endpoints of hook events from oned, retrying", "reason", why)
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
func (a bridging) feeds() []restapi.FeedHealth {
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
func (a bridging) feedEndpoints() []string {
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

// hears reports whether the bridge of this process passes on all that happens.
func (a bridging) hears() bool {
	b := a.bridge.Load()
	return b != nil && b.Hears()
}

// hearsCalls identifies what the bridge of this process hears calls on; empty where it does not.
func (a bridging) hearsCalls() string {
	b := a.bridge.Load()
	if b == nil {
		return ""
	}
	return b.HearsCalls()
}
