package opennebula

import (
	"container/list"
	"context"
	"sync"
)

// maxWrites bounds the changes under way at once that nobody waits for. oned changes
// one thing at a time: what is beyond a few only waits inside it, on connections that
// others need.
const maxWrites = 4

// readsBefore bounds how many reads go before a change that waits. A read takes a fifth of
// the time: a service that another process has left reads first, and would wait out a change
// of each of the others for every read.
const readsBefore = 8

// slots bound the calls under way at once to one zone. A call that a client waits for
// goes first, and has a slot of its own where there is more than one; then go reads.
type slots struct {
	mutex sync.Mutex
	size  int
	taken int
	// writes counts the changes among those taken, and passed the reads that have gone before
	// the change that waits longest.
	writes, passed int
	urgent         list.List // of *slotRequest, each in the order in which they came
	reading        list.List
	writing        list.List
}

// slotRequest is a call that waits for a slot; granted is closed when it has one.
type slotRequest struct {
	granted chan struct{}
	writes  bool
}

func newSlots(size int) *slots { return &slots{size: size} }

// acquire waits for a slot for a call that changes something, or only reads; without
// one it returns ctx's error.
func (s *slots) acquire(ctx context.Context, writes bool) error {
	s.mutex.Lock()
	queue := &s.reading
	switch {
	case isUrgent(ctx):
		queue = &s.urgent
	case writes:
		queue = &s.writing
	}
	request := &slotRequest{granted: make(chan struct{}), writes: writes}
	place := queue.PushBack(request)
	s.grant()
	s.mutex.Unlock()
	select {
	case <-request.granted:
		return nil
	case <-ctx.Done():
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	select {
	case <-request.granted:
		s.giveBack(writes)
	default:
		queue.Remove(place)
	}
	return ctx.Err()
}

// release gives a slot back. It reports whether there are fewer slots by now than were
// taken: the call's connection is not needed any more.
func (s *slots) release(writes bool) (surplus bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	surplus = s.taken > s.size
	s.giveBack(writes)
	return surplus
}

// giveBack is called with the mutex held.
func (s *slots) giveBack(writes bool) {
	s.taken--
	if writes {
		s.writes--
	}
	s.grant()
}

// resize sets how many slots there are, and reports whether they have become fewer.
// Calls under way beyond them end by themselves.
func (s *slots) resize(size int) (fewer bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	fewer = size < s.size
	s.size = size
	s.grant()
	return fewer
}

// busy reports whether calls are under way or wait for a slot.
func (s *slots) busy() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.taken+s.urgent.Len()+s.reading.Len()+s.writing.Len() > 0
}

// grant gives free slots away; the mutex is held.
func (s *slots) grant() {
	for s.taken < s.size {
		var queue *list.List
		switch ordinary := s.taken < max(1, s.size-1); {
		case s.urgent.Len() > 0:
			queue = &s.urgent
		case !ordinary:
			return
		case s.writing.Len() > 0 && s.writes < maxWrites && (s.reading.Len() == 0 || s.passed == readsBefore):
			queue, s.passed = &s.writing, 0
		case s.reading.Len() > 0:
			if queue = &s.reading; s.writing.Len() > 0 {
				s.passed = min(s.passed+1, readsBefore)
			}
		default:
			return
		}
		request := queue.Remove(queue.Front()).(*slotRequest)
		s.taken++
		if request.writes {
			s.writes++
		}
		close(request.granted)
	}
}

type urgentKey struct{}

// Urgent returns a context whose calls go before others: a client waits for them.
func Urgent(ctx context.Context) context.Context { return context.WithValue(ctx, urgentKey{}, true) }

// Unhurried returns a context whose calls are no longer Urgent.
func Unhurried(ctx context.Context) context.Context {
	if !isUrgent(ctx) {
		return ctx
	}
	return context.WithValue(ctx, urgentKey{}, false)
}

func isUrgent(ctx context.Context) bool {
	urgent, _ := ctx.Value(urgentKey{}).(bool)
	return urgent
}
