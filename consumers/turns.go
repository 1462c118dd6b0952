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

	mutex   sync.Mutex
	taken   int
	waiting [ranks]list.List // of *ticket, by rank
}

// rank says who goes before whom: the closed set.
type rank int

const (
	ordinary  rank = iota
	returning      // gave its place away for a moment, in the middle of something
	urgent         // somebody waits for an answer
	ranks
)

// ticket is a request for a place; grant is called, once, with the place.
type ticket struct {
	grant func()
	rank  rank
	queue *list.List // where it waits; nil while it does not
	waits *list.Element
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
	if request.queue != nil && request.rank != urgent {
		t.dequeue(request)
		request.rank = urgent
		t.enqueue(request)
		t.share()
	}
}

// withdraw takes a request back; false means that it has been granted.
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

// crowded reports whether somebody waits for a place.
func (t *turns) crowded() bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for i := range t.waiting {
		if t.waiting[i].Len() > 0 {
			return true
		}
	}
	return false
}

// awaited is a ticket whose holder waits for what closes when it is granted.
func awaited(rank rank) (request *ticket, granted <-chan struct{}) {
	closes := make(chan struct{})
	return &ticket{rank: rank, grant: func() { close(closes) }}, closes
}

// await waits until a ticket that was submitted is granted; when ctx ends before, it
// takes the ticket back and returns ctx's error.
func (t *turns) await(ctx context.Context, request *ticket, granted <-chan struct{}) error {
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
	request.queue = &t.waiting[request.rank]
	request.waits = request.queue.PushBack(request)
}

func (t *turns) dequeue(request *ticket) {
	request.queue.Remove(request.waits)
	request.queue, request.waits = nil, nil
}

// share gives free places away.
func (t *turns) share() {
	for next := t.next(); next != nil; next = t.next() {
		granted := next.Value.(*ticket)
		t.dequeue(granted)
		t.taken++
		granted.grant()
	}
}

// next is who may have a place now.
func (t *turns) next() *list.Element {
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
