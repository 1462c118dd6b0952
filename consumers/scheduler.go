package consumers

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/flowjet/flowjet/internal/idle"
)

// scheduler shares out the right to work: so many service loops at once, in the order in which
// they ask. Those that somebody waits for go first and have some slots of their own, so that a
// command does not queue behind a storm of events.
type scheduler struct {
	places, reserved int

	mutex   sync.Mutex
	taken   int
	waiting [ranks]list.List // of *slotRequest, by priority
}

// priority says who goes before whom: the closed set.
type priority int

const (
	ordinary  priority = iota
	returning          // gave its slot away for a moment, in the middle of something
	urgent             // somebody waits for an answer
	ranks
)

// slotRequest is a request for a slot; grant is called, once, with the slot.
type slotRequest struct {
	grant    func()
	priority priority
	waits    *list.Element // its place among those that wait; nil while it does not
}

func newScheduler(places, reserved int) *scheduler {
	return &scheduler{places: places, reserved: reserved}
}

// submit asks for a slot.
func (t *scheduler) submit(request *slotRequest) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	request.waits = t.waiting[request.priority].PushBack(request)
	t.share()
}

// boost lets a request that waits go before those that are not urgent.
func (t *scheduler) boost(request *slotRequest) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if request.waits != nil && request.priority != urgent {
		t.waiting[request.priority].Remove(request.waits)
		request.priority = urgent
		request.waits = t.waiting[urgent].PushBack(request)
		t.share()
	}
}

// withdraw takes a request back; false means that it has been granted.
func (t *scheduler) withdraw(request *slotRequest) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if request.waits == nil {
		return false
	}
	t.waiting[request.priority].Remove(request.waits)
	request.waits = nil
	return true
}

// release gives a slot back.
func (t *scheduler) release() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.taken--
	t.share()
}

// crowded reports whether somebody waits for a slot.
func (t *scheduler) crowded() bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for i := range t.waiting {
		if t.waiting[i].Len() > 0 {
			return true
		}
	}
	return false
}

// share gives free slots away, the reserved ones only to who is urgent.
func (t *scheduler) share() {
	slots := t.places + t.reserved
	for rank := urgent; rank >= ordinary; rank-- {
		queue := &t.waiting[rank]
		for t.taken < slots && queue.Len() > 0 {
			granted := queue.Remove(queue.Front()).(*slotRequest)
			granted.waits = nil
			t.taken++
			granted.grant()
		}
		slots = t.places
	}
}

// slot is a service loop's slot among those that may work at once, so that oned and NATS get
// no more at a time than they can do. The loop gives it away wherever it would only wait.
type slot struct {
	*serviceLoop
	// placed reports whether the loop has a slot, and calling whether it makes one of the calls that are bounded.
	placed, calling bool
}

// release lets another service loop work, unless this one has done so already.
func (p *slot) release() {
	if p.placed {
		p.placed = false
		p.worker.scheduler.release()
	}
}

// acquire waits for a slot; without one it returns ctx's error.
func (p *slot) acquire(ctx context.Context, as priority) error {
	granted := make(chan struct{})
	request := &slotRequest{priority: as, grant: func() { close(granted) }}
	p.partition.askAgain(p.serviceLoop, request)
	select {
	case <-granted:
		p.placed = true
		return nil
	case <-ctx.Done():
	}
	if !p.worker.scheduler.withdraw(request) {
		p.worker.scheduler.release()
	}
	p.placed = false
	return ctx.Err()
}

// backOff waits without keeping others from working, but for the middle of a call.
func (p *slot) backOff(ctx context.Context, wait *idle.Backoff) {
	if p.calling {
		wait.Wait(ctx)
		return
	}
	p.release()
	wait.Wait(ctx)
	_ = p.acquire(ctx, ordinary)
}

// whileOthersWork waits, in the middle of a turn, for NATS or oned, and lets another service loop
// work meanwhile. It goes on before those that have not begun. A loop keeps its slot while a
// command waits for it, and while it makes a call: who got the slot might wait for the call.
func (p *slot) whileOthersWork(ctx context.Context, wait func() error) error {
	if !p.placed || p.calling || p.urgent.Load() {
		return wait()
	}
	waited := p.lend()
	err := func() error {
		defer waited()
		return wait()
	}()
	if !p.placed {
		err = errors.Join(err, p.acquire(ctx, returning))
	}
	return err
}

// maxOutside bounds how many service loops wait without a slot; any more keep others from working.
const maxOutside = 512

// lend lets another service loop work, where one waits for that, while this one waits, as for
// NATS's disk: what many store at a time costs as much as what a few do. A loop that publishes its
// history goes on in another turn. What it returns is to be called when the wait is over.
func (p *slot) lend() (waited func()) {
	if !p.placed || !p.worker.scheduler.crowded() || !p.worker.outside.TryAcquire(1) {
		return func() {}
	}
	p.release()
	return func() { p.worker.outside.Release(1) }
}
