package opennebula

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	// warmupSpread is over how long processes spread their first calls in a session that
	// has just changed for all of them; the auth driver of the first takes some 0.3 s.
	warmupSpread = 1500 * time.Millisecond
	// warmupWait bounds how long a call waits for the first one in its session.
	warmupWait = 2 * time.Second
	maxWarmups = 10_000
)

// warmups lets the first call in a session go ahead of the others. oned runs an auth
// driver for every call that comes before it has cached the session: at the change of
// the tokens, and at a leader that is new, one for each call of every process.
//
// Safety: none is needed, it is about cost. Liveness: no call waits for longer than
// warmupWait.
type warmups struct {
	spread time.Duration

	mutex sync.Mutex
	known map[warmupKey]*warmup
}

// warmupKey is a session at a server: each caches its own.
type warmupKey struct{ endpoint, user string }

type warmup struct {
	// period is the tokens' of the last call that oned accepted, -1 for none.
	period int64
	// under is closed when the call that goes ahead has ended; nil without one.
	under chan struct{}
}

func newWarmups() *warmups {
	return &warmups{spread: warmupSpread, known: map[warmupKey]*warmup{}}
}

// enter returns when a call may be made, and what is to be told whether oned accepted
// its session. Calls that a client waits for do not wait here.
func (w *warmups) enter(ctx context.Context, key warmupKey, period int64) (ended func(accepted bool)) {
	hurries := isUrgent(ctx)
	ended = func(accepted bool) { w.end(key, period, nil, accepted) }
	waited := time.NewTimer(warmupWait)
	defer waited.Stop()
	w.mutex.Lock()
	one := w.entry(key)
	for one.period != period && one.under != nil && !hurries {
		ahead := one.under
		w.mutex.Unlock()
		select {
		case <-ahead:
		case <-waited.C:
			return ended
		case <-ctx.Done():
			return ended
		}
		w.mutex.Lock()
		one = w.entry(key)
	}
	if one.period == period || hurries {
		w.mutex.Unlock()
		return ended
	}
	under := make(chan struct{})
	one.under = under
	changed := one.period >= 0
	w.mutex.Unlock()
	if changed {
		_ = idle.For(ctx, rand.N(w.spread))
	}
	return func(accepted bool) { w.end(key, period, under, accepted) }
}

// entry is called with the mutex held.
func (w *warmups) entry(key warmupKey) *warmup {
	if one := w.known[key]; one != nil {
		return one
	}
	if len(w.known) >= maxWarmups {
		clear(w.known)
	}
	one := &warmup{period: -1}
	w.known[key] = one
	return one
}

func (w *warmups) end(key warmupKey, period int64, under chan struct{}, accepted bool) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	one := w.entry(key)
	if accepted {
		one.period = max(one.period, period)
	}
	if under != nil {
		close(under)
		if one.under == under {
			one.under = nil
		}
	}
}
