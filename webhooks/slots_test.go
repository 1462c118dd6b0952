package webhooks

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

// However many keys use all slots that they can get, another gets some; and where all have as much to do, all get about as many.
func TestSlotsAreDivided(t *testing.T) {
	const most, all = 64, 256
	for _, keys := range []int{1, 2, 4, 5, 20, 100} {
		s := newSlots(most, all)
		var granted []string // in order, and not yet released
		hang := func(key string) {
			for range 2 * most {
				s.request(key, func() { granted = append(granted, key) })
			}
		}
		for i := range keys {
			hang(fmt.Sprint(i))
		}
		for range 100 * all { // the oldest attempts end after their time
			key := granted[0]
			granted = granted[1:]
			s.release(key)
			s.request(key, func() { granted = append(granted, key) })
		}
		want := min(most, all/(keys+1))
		for i := range keys {
			if got := s.used[fmt.Sprint(i)]; got < want-1 || got > want+1 {
				t.Errorf("of %d keys number %d has %d slots, want %d", keys, i, got, want)
			}
		}
		before := len(granted)
		hang("new")
		if len(granted) == before || len(granted) > all || s.busy != len(granted) {
			t.Errorf("beside %d keys a new one gets %d slots; busy are %d", keys, len(granted)-before, s.busy)
		}
	}
}

// What waits for a receiver that hangs, for however many services, costs no goroutine and holds up nothing else.
func TestWhatWaitsForAReceiver(t *testing.T) {
	w := newWorld(t)
	d := New(Config{Settings: settings(), Owns: always}, w.pipe.Pipeline)
	for range maxPostsOfReceiver {
		d.configured.request("slow", func() {})
	}
	life, stop := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	before := runtime.NumGoroutine()
	for service := range 30_000 {
		d.wake(life, &loops, deliveries.Queued{Subject: pipeline.HookSubject("slow", service), Delivery: pipeline.Delivery{Service: service}})
	}
	if more := runtime.NumGoroutine() - before; more > 100 {
		t.Errorf("they have %d goroutines", more)
	}
	quick := pipeline.HookSubject("quick", 7)
	d.wake(life, &loops, deliveries.Queued{Subject: quick, Delivery: pipeline.Delivery{Service: 7}})
	poll.Until(t, "another receiver's turn", func() bool {
		d.mutex.Lock()
		defer d.mutex.Unlock()
		return d.loops[quick] == nil
	})
	stop()
	d.endPauses()
	d.configured.release("slow")
	loops.Wait()
	if len(d.loops) > 0 {
		t.Errorf("%d are left", len(d.loops))
	}
}
