package consumers

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/flowjet/flowjet/internal/idle"
)

// scheduler limits how many service loops work at once, in the order of their requests. Those for which a client waits go first and have
// some slots of their own, so that a command does not queue behind a storm of events.
type scheduler struct {
	slots, reserved int

	mutex   sync.Mutex
	used    int
	waiting [priorities]list.List // of *slotRequest, by priority
}

// priority is the closed set of priorities.
type priority int

const (
	ordinary  priority = iota
	returning          // gave its slot away briefly, in the middle of an input
	urgent             // a client waits for an answer
	priorities
)

// slotRequest is a request for a slot; grant is called, once, with the slot.
type slotRequest struct {
	grant    func()
	priority priority
	waits    *list.Element // its element in the queue; nil while it does not wait
}

// submit requests a slot.
func (t *scheduler) submit(request *slotRequest) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	request.waits = t.waiting[request.priority].PushBack(request)
	t.share()
}

// boost gives a waiting request the highest priority.
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

// withdraw cancels a request; false means that it has been granted.
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
	t.used--
	t.share()
}

// crowded reports whether a request waits for a slot.
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

// share grants free slots, the reserved ones only to urgent requests.
func (t *scheduler) share() {
	limit := t.slots + t.reserved
	for level := urgent; level >= ordinary; level-- {
		queue := &t.waiting[level]
		for t.used < limit && queue.Len() > 0 {
			granted := queue.Remove(queue.Front()).(*slotRequest)
			granted.waits = nil
			t.used++
			granted.grant()
		}
		limit = t.slots
	}
}

// slot is a service loop's slot among those that may work at once, so that oned and NATS get no more at a time than they can handle. The
// loop gives it away wherever it would only wait.
type slot struct {
	*queue
	worker *Worker
	// held is whether the loop has a slot, and calling whether it makes one of the bounded calls.
	held, calling bool
}

// release lets another service loop work, unless this one has done so already.
func (p *slot) release() {
	if p.held {
		p.held = false
		p.worker.scheduler.release()
	}
}

// acquire waits for a slot; without one it returns ctx's error.
func (p *slot) acquire(ctx context.Context, as priority) error {
	granted := make(chan struct{})
	request := &slotRequest{priority: as, grant: func() { close(granted) }}
	p.partition.askAgain(p.queue, request)
	select {
	case <-granted:
		p.held = true
		return nil
	case <-ctx.Done():
	}
	if !p.worker.scheduler.withdraw(request) {
		p.worker.scheduler.release()
	}
	p.held = false
	return ctx.Err()
}

// backOff waits without keeping others from working, except in the middle of a call.
func (p *slot) backOff(ctx context.Context, wait *idle.Backoff) {
	if p.calling {
		wait.Wait(ctx)
		return
	}
	p.release()
	wait.Wait(ctx)
	_ = p.acquire(ctx, ordinary)
}

// whileOthersWork waits, in the middle of an input, for NATS or oned, and lets another service loop work meanwhile. It goes on before those
// that have not begun. A loop keeps its slot while a command waits for it, and while it makes a call: the next holder might wait for the
// call.
func (p *slot) whileOthersWork(ctx context.Context, wait func() error) error {
	if !p.held || p.calling || p.urgent.Load() {
		return wait()
	}
	waited := p.lend()
	err := func() error {
		defer waited()
		return wait()
	}()
	if !p.held {
		err = errors.Join(err, p.acquire(ctx, returning))
	}
	return err
}

// maxOutside bounds how many service loops wait without a slot; any more keep others from working.
const maxOutside = 512

// lend lets another service loop work, if one waits, while this one waits, as for NATS's disk: storing many at a time costs as much as
// storing a few. A loop that publishes its history goes on in another slot. The returned function is to be called when the wait is over.
func (p *slot) lend() (waited func()) {
	if !p.held || !p.worker.scheduler.crowded() || !p.worker.outside.TryAcquire(1) {
		return func() {}
	}
	p.release()
	return func() { p.worker.outside.Release(1) }
}
