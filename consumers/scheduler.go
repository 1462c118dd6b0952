package consumers

import (
	"container/list"
	"context"
	"sync"
)

// scheduler shares out the right to work: so many service loops at once, in the order in
// which they ask. Those that somebody waits for go before the others and have
// some slots of their own, so that a command does not queue behind a storm of
// events.
type scheduler struct {
	places, reserved int

	mutex   sync.Mutex
	taken   int
	waiting [ranks]list.List // of *request, by rank
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
	queue    *list.List // where it waits; nil while it does not
	waits    *list.Element
}

func newScheduler(places, reserved int) *scheduler {
	return &scheduler{places: places, reserved: reserved}
}

// submit asks for a slot.
func (t *scheduler) submit(request *slotRequest) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.enqueue(request)
	t.share()
}

// boost lets a request that waits go before those that are not urgent.
func (t *scheduler) boost(request *slotRequest) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if request.queue != nil && request.priority != urgent {
		t.dequeue(request)
		request.priority = urgent
		t.enqueue(request)
		t.share()
	}
}

// withdraw takes a request back; false means that it has been granted.
func (t *scheduler) withdraw(request *slotRequest) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if request.queue == nil {
		return false
	}
	t.dequeue(request)
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

// awaited is a request whose holder waits for what closes when it is granted.
func awaited(rank priority) (request *slotRequest, granted <-chan struct{}) {
	closes := make(chan struct{})
	return &slotRequest{priority: rank, grant: func() { close(closes) }}, closes
}

// await waits until a request that was submitted is granted; when ctx ends before, it
// takes the request back and returns ctx's error.
func (t *scheduler) await(ctx context.Context, request *slotRequest, granted <-chan struct{}) error {
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	if !t.withdraw(request) {
		t.release()
	}
	return ctx.Err()
}

func (t *scheduler) enqueue(request *slotRequest) {
	request.queue = &t.waiting[request.priority]
	request.waits = request.queue.PushBack(request)
}

func (t *scheduler) dequeue(request *slotRequest) {
	request.queue.Remove(request.waits)
	request.queue, request.waits = nil, nil
}

// share gives free slots away.
func (t *scheduler) share() {
	for next := t.nextWaiting(); next != nil; next = t.nextWaiting() {
		granted := next.Value.(*slotRequest)
		t.dequeue(granted)
		t.taken++
		granted.grant()
	}
}

// nextWaiting is who may have a slot now.
func (t *scheduler) nextWaiting() *list.Element {
	if first := t.waiting[urgent].Front(); first != nil && t.taken < t.places+t.reserved {
		return first
	}
	if t.taken >= t.places {
		return nil
	}
	if first := t.waiting[returning].Front(); first != nil {
		return first
	}
	return t.waiting[ordinary].Front()
}
