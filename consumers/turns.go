package consumers

import (
	"container/list"
	"context"
	"sync"
)

// turns shares out the right to work: so many lanes at once, in the order in
// which they ask. Those that somebody waits for go before the others and have
// some places of their own, so that a command does not queue behind a storm of
// events.
type turns struct {
	places, reserved int

	mutex            sync.Mutex
	taken            int
	urgent, ordinary list.List // of *ticket
}

// ticket is a request for a place; grant is called, once, with the place.
type ticket struct {
	grant  func()
	queue  *list.List // where it waits; nil while it does not
	waits  *list.Element
	urgent bool
}

func newTurns(places, reserved int) *turns { return &turns{places: places, reserved: reserved} }

// submit asks for a place.
func (t *turns) submit(request *ticket) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.enqueue(request)
	t.share()
}

// hasten lets a ticket that waits go before those that are not urgent.
func (t *turns) hasten(request *ticket) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if request.urgent = true; request.queue == &t.ordinary {
		t.dequeue(request)
		t.enqueue(request)
		t.share()
	}
}

// withdraw takes a request back; false says that it has been granted.
func (t *turns) withdraw(request *ticket) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if request.queue == nil {
		return false
	}
	t.dequeue(request)
	return true
}

// leave gives a place back.
func (t *turns) leave() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.taken--
	t.share()
}

// crowded says that somebody waits for a place.
func (t *turns) crowded() bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.urgent.Len()+t.ordinary.Len() > 0
}

// enter waits for a place; without one it returns ctx's error.
func (t *turns) enter(ctx context.Context, urgent bool) error {
	granted := make(chan struct{})
	request := &ticket{urgent: urgent, grant: func() { close(granted) }}
	t.submit(request)
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	if !t.withdraw(request) {
		t.leave()
	}
	return ctx.Err()
}

func (t *turns) enqueue(request *ticket) {
	request.queue = &t.ordinary
	if request.urgent {
		request.queue = &t.urgent
	}
	request.waits = request.queue.PushBack(request)
}

func (t *turns) dequeue(request *ticket) {
	request.queue.Remove(request.waits)
	request.queue, request.waits = nil, nil
}

// share gives free places away.
func (t *turns) share() {
	for {
		next := t.urgent.Front()
		if next == nil || t.taken >= t.places+t.reserved {
			next = t.ordinary.Front()
			if next == nil || t.taken >= t.places {
				return
			}
		}
		granted := next.Value.(*ticket)
		t.dequeue(granted)
		t.taken++
		granted.grant()
	}
}
