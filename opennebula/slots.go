package opennebula

import (
	"container/list"
	"context"
	"sync"
)

// maxBackground bounds the calls under way at once that nobody waits for. oned
// changes one thing at a time: what is beyond a few only waits inside it, on
// connections that others need.
const maxBackground = 4

// slots bound the calls under way at once to one zone. A call that a client waits for
// goes first, and has a slot of its own where there is more than one.
type slots struct {
	mutex   sync.Mutex
	size    int
	taken   int
	urgent  list.List // of chan struct{}, closed when the slot is granted
	waiting list.List
}

func newSlots(size int) *slots { return &slots{size: size} }

// acquire waits for a slot; without one it returns ctx's error.
func (s *slots) acquire(ctx context.Context) error {
	s.mutex.Lock()
	queue := &s.waiting
	if isUrgent(ctx) {
		queue = &s.urgent
	}
	granted := make(chan struct{})
	request := queue.PushBack(granted)
	s.grant()
	s.mutex.Unlock()
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	select {
	case <-granted:
		s.taken--
		s.grant()
	default:
		queue.Remove(request)
	}
	return ctx.Err()
}

// release gives a slot back. It reports whether there are fewer slots by now than were
// taken: the call's connection is not needed any more.
func (s *slots) release() (surplus bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	surplus = s.taken > s.size
	s.taken--
	s.grant()
	return surplus
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
	return s.taken+s.urgent.Len()+s.waiting.Len() > 0
}

// grant gives free slots away; the mutex is held.
func (s *slots) grant() {
	for s.taken < s.size {
		queue := &s.urgent
		if queue.Len() == 0 {
			queue = &s.waiting
			if s.taken >= min(max(1, s.size-1), maxBackground) {
				return
			}
		}
		first := queue.Front()
		if first == nil {
			return
		}
		s.taken++
		close(queue.Remove(first).(chan struct{}))
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
