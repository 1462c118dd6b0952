package bridge

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	firstResyncPause   = 500 * time.Millisecond
	longestResyncPause = 30 * time.Second
)

// compareRegularly compares, when asked to and from time to time, until ctx ends.
// A bridge on standby leaves that to the one that publishes.
func (b *Bridge) compareRegularly(ctx context.Context) {
	timer := time.NewTimer(b.config.Resync.Every)
	defer timer.Stop()
	r := b.newResync()
	for {
		next := b.config.Resync.Every
		var wanted bool
		select {
		case <-ctx.Done():
			return
		case <-b.asked:
			next, wanted = b.config.Resync.Settle, b.holdsAny()
		case <-timer.C:
			wanted = b.holdsFirst()
		}
		if wanted && b.compareUntilDone(ctx, r) != nil {
			return
		}
		timer.Reset(next*9/10 + rand.N(next/5+1))
	}
}

// compareUntilDone tries a comparison until it succeeds, ctx ends or this bridge
// publishes no more.
func (b *Bridge) compareUntilDone(ctx context.Context, r *resync) error {
	pause := firstResyncPause
	for b.holdsAny() {
		err := r.run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.compared(err)
		if err == nil {
			return nil
		}
		if err := idle.For(ctx, pause/2+rand.N(pause/2)); err != nil {
			return err
		}
		pause = min(2*pause, longestResyncPause)
	}
	return nil
}

// askLater has another comparison made when the present one has settled.
func (b *Bridge) askLater() {
	time.AfterFunc(b.config.Resync.Settle, func() {
		if b.hearing.Err() == nil {
			b.ask("news was on its way")
		}
	})
}

// compared notes a comparison's outcome, and logs when that changes.
func (b *Bridge) compared(err error) {
	b.mu.Lock()
	before := b.resyncs.failed
	b.resyncs.failed = ""
	if err != nil {
		b.resyncs.failed = err.Error()
	} else {
		b.resyncs.last = time.Now()
	}
	b.mu.Unlock()
	if err == nil {
		b.metrics.resyncs.WithLabelValues("done").Inc()
		if before != "" {
			b.log.Info("oned could be compared with the stored events again")
		}
		return
	}
	b.metrics.resyncs.WithLabelValues("failed").Inc()
	if before == "" {
		b.log.Warn("cannot compare oned with the stored events, trying again until it works", "error", err)
	}
}
