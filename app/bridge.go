package app

import (
	"cmp"
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

// events divides bridge.events into objects of which all states pass, or some, and calls. An object that is named with a state
// and without passes in all.
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

func startBridge(ctx context.Context, a *App) error {
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
	if err == nil {
		a.bridge.Store(b)
		return nil
	}
	if !opennebula.Temporary(err) {
		return fmt.Errorf("%w (see --one-hooks and --bridge-…)", err)
	}
	// It has to ask oned which servers the zone has.
	a.logger.Warn("cannot get the endpoints of hook events from oned, retrying", "reason", err)
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
	return nil
}

// feedsOf returns how a bridge hears each endpoint; nil stands for no bridge.
func feedsOf(b *bridge.Bridge) []restapi.FeedHealth {
	if b == nil {
		return nil
	}
	var feeds []restapi.FeedHealth
	now := time.Now()
	for _, status := range b.Status() {
		feeds = append(feeds, restapi.FeedHealth{
			Endpoint: status.Endpoint, Connected: status.Connected, SilentSeconds: int(status.SilentFor(now).Seconds()),
			EventsPerSecond: status.Rate, Gaps: status.Gaps, LastResync: status.LastResync, Role: status.Role, Leads: status.Leads(),
			Publishes: status.Holding, Waiting: status.QueueLength, Spilled: status.Spilled, Error: cmp.Or(status.Error, status.StoreError, status.ResyncError),
		})
	}
	return feeds
}
