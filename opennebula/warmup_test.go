package opennebula

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestOneCallWarmsASessionUp: oned runs an auth driver for every call that comes before
// it has cached the session.
func TestOneCallWarmsASessionUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const driver = 300 * time.Millisecond
		w := &warmups{spread: warmupSpread, known: map[warmupKey]*warmup{}}
		key := warmupKey{"http://one", "alice"}
		run := func(period int64) (drivers int32) {
			var cached atomic.Bool
			var count atomic.Int32
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					ended := w.enter(t.Context(), key, period)
					if !cached.Load() {
						count.Add(1)
						time.Sleep(driver)
						cached.Store(true)
					}
					ended(true)
				})
			}
			all.Wait()
			return count.Load()
		}
		began := time.Now()
		if drivers := run(7); drivers != 1 || time.Since(began) != driver {
			t.Errorf("%d drivers ran in %v at the start, want one at once", drivers, time.Since(began))
		}
		if drivers := run(8); drivers != 1 {
			t.Errorf("%d drivers ran at the change of the tokens", drivers)
		}
		if drivers := run(5); drivers != 1 {
			t.Errorf("%d drivers ran when oned's clock was set back", drivers)
		}
		began = time.Now()
		if w.enter(t.Context(), key, 5)(true); time.Since(began) != 0 {
			t.Errorf("a call waited %v in a session that oned knows, after oned's clock was set back", time.Since(began))
		}
	})
}

// TestWarmingUpHoldsNobodyUpForLong: neither a client, nor when the first call hangs.
func TestWarmingUpHoldsNobodyUpForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &warmups{spread: warmupSpread, known: map[warmupKey]*warmup{}}
		key := warmupKey{"http://one", "alice"}
		hanging := w.enter(t.Context(), key, 1)
		began := time.Now()
		w.enter(Urgent(t.Context()), key, 1)(false)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("a client waited %v", waited)
		}
		w.enter(t.Context(), key, 1)(false)
		if waited := time.Since(began); waited != warmupWait {
			t.Errorf("a call waited %v behind one that hangs, want %v", waited, warmupWait)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		w.enter(ended, key, 1)(false)
		hanging(false)
		w.enter(t.Context(), key, 1)(true)
		if waited := time.Since(began); waited != warmupWait {
			t.Errorf("a call waited for one that had ended: %v", waited)
		}
	})
}
