package sim

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// delays are how slow the simulator is on purpose.
type delays struct {
	mu         sync.Mutex
	bootStep   time.Duration
	call       time.Duration
	methods    map[string]time.Duration
	serialised bool
	// held is how many calls wait for their delay's end.
	held atomic.Int64
	// writing is held by a write where they are serialised.
	writing chan struct{}
}

func newDelays(config Config) *delays {
	d := &delays{
		bootStep: max(config.BootDelay, 0), call: config.CallDelay, methods: map[string]time.Duration{},
		serialised: config.SerialisedWrites, writing: make(chan struct{}, 1),
	}
	for name, delay := range config.CallDelays {
		d.methods[name] = delay
	}
	return d
}

func (d *delays) boot() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bootStep
}

// writeTime is how long oned takes to write to its database, behind the event.
const writeTime = 15 * time.Millisecond

// write is how long a step's change is written: no longer than until the next one.
func (d *delays) write() time.Duration { return min(d.boot(), writeTime) }

func (d *delays) of(method string) (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if delay, own := d.methods[method]; own {
		return delay, d.serialised
	}
	return d.call, d.serialised
}

// pass waits as long as the call takes; where writes are serialised only one
// of them is on its way at a time, until it leaves.
func (d *delays) pass(ctx context.Context, method string, writes bool) (leave func(), err error) {
	delay, serialised := d.of(method)
	leave = func() {}
	if serialised && writes {
		select {
		case d.writing <- struct{}{}:
			leave = func() { <-d.writing }
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if delay <= 0 {
		return leave, nil
	}
	d.held.Add(1)
	defer d.held.Add(-1)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return leave, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// SetBootDelay sets how long each step of a VM or network takes from now on;
// 0 is at once.
func (d *delays) SetBootDelay(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bootStep = max(delay, 0)
}

// SetCallDelay sets how long every call of a method takes from now on, or of
// all that have no own delay where method is "".
func (d *delays) SetCallDelay(method string, delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if method == "" {
		d.call = delay
		return
	}
	d.methods[method] = delay
}

// SetSerialisedWrites makes writes wait for each other, as oned's database has
// them do.
func (d *delays) SetSerialisedWrites(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serialised = yes
}
