package bridge

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	firstResyncPause   = 500 * time.Millisecond
	longestResyncPause = 30 * time.Second
)

// resyncer has oned compared with the stored events, by one comparison at a time.
// A bridge on standby leaves that to the one that publishes.
type resyncer struct {
	zone    int
	config  ResyncConfig
	cloud   cloud
	store   store
	filter  filter
	feeds   []*feed
	log     *slog.Logger
	metrics *metrics
	// requests has room for one.
	requests chan struct{}

	mu    sync.Mutex
	state resyncState
}

// resyncState is what changes with comparisons.
type resyncState struct {
	last        time.Time
	failed      string
	differences uint64
}

// request has a comparison made soon.
func (r *resyncer) request(cause string) {
	r.log.Debug("a comparison with oned was requested", "cause", cause)
	signal(r.requests)
}

// run compares, when asked to and from time to time, until ctx ends.
func (r *resyncer) run(ctx context.Context) {
	timer := time.NewTimer(r.config.Every)
	defer timer.Stop()
	comparison := r.newComparison()
	for {
		next := r.config.Every
		var wanted bool
		select {
		case <-ctx.Done():
			return
		case <-r.requests:
			next, wanted = r.config.Settle, r.holdsAny()
		case <-timer.C:
			// The bridge that publishes the first feed by name compares from time to time for all.
			wanted = slices.MinFunc(r.feeds, func(a, b *feed) int { return strings.Compare(a.name, b.name) }).holding.Load()
		}
		if wanted && r.compareUntilDone(ctx, comparison) != nil {
			return
		}
		timer.Reset(next*9/10 + rand.N(next/5+1))
	}
}

// compareUntilDone tries a comparison until it succeeds, ctx ends or this bridge publishes no
// more. It logs when the outcome changes.
func (r *resyncer) compareUntilDone(ctx context.Context, c *comparison) error {
	for pause := firstResyncPause; r.holdsAny(); pause = min(2*pause, longestResyncPause) {
		err := c.run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.mu.Lock()
		before := r.state.failed
		if err == nil {
			r.state.failed, r.state.last = "", time.Now()
		} else {
			r.state.failed = err.Error()
		}
		r.mu.Unlock()
		if err == nil {
			r.metrics.resyncs.WithLabelValues("done").Inc()
			if before != "" {
				r.log.Info("oned was compared with the stored events again")
			}
			return nil
		}
		r.metrics.resyncs.WithLabelValues("failed").Inc()
		if before == "" {
			r.log.Warn("cannot compare oned with the stored events, retrying", "error", err)
		}
		if err := idle.For(ctx, pause/2+rand.N(pause/2)); err != nil {
			return err
		}
	}
	return nil
}

// holdsAny reports whether this bridge publishes a feed.
func (r *resyncer) holdsAny() bool {
	return slices.ContainsFunc(r.feeds, func(f *feed) bool { return f.holding.Load() })
}
