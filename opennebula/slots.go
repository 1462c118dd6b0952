package opennebula

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

// maxWrites bounds the concurrent changes for which no client waits. oned makes one change at a time: beyond a few they only wait inside it, on
// connections that others need.
const maxWrites = 4

// readsBefore bounds how many reads go before a change that waits. A read takes a fifth of the time: a service taken over from another process reads
// first, and would wait for a change of each of the others before every read.
const readsBefore = 8

// urgentBefore bounds how many urgent calls go before another that waits: clients that send request after request must not stop all services.
const urgentBefore = 16

// slots bound the concurrent calls to one zone. A call for which a client waits goes first, and has a slot of its own if there is more than one, and
// users with such calls take turns; then go reads.
type slots struct {
	mutex sync.Mutex
	size  int
	used  int
	// writes counts the changes among those used, and passed the reads that have gone before the oldest waiting change.
	writes, passed int
	urgent         list.List // of *slotRequest, each in the order in which they came
	reading        list.List
	writing        list.List
	// turns are the users' last turns among the urgent calls, of turn in all.
	turns map[string]int
	turn  int
	// hurried counts the urgent calls that have gone before others that wait.
	hurried int
}

// slotRequest is a call that waits for a slot; granted is closed when it has one.
type slotRequest struct {
	granted chan struct{}
	user    string
	writes  bool
}

func newSlots(size int) *slots { return &slots{size: size, turns: map[string]int{}} }

// acquire waits for a slot for a user's call that changes something, or only reads; without one it returns ctx's error.
func (s *slots) acquire(ctx context.Context, user string, writes bool) error {
	s.mutex.Lock()
	queue := &s.reading
	switch {
	case isUrgent(ctx):
		queue = &s.urgent
	case writes:
		queue = &s.writing
	}
	request := &slotRequest{make(chan struct{}), user, writes}
	element := queue.PushBack(request)
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
		queue.Remove(element)
	}
	return ctx.Err()
}

// release releases a slot. It reports whether there are fewer slots by now than were used: the call's connection is not needed any more.
func (s *slots) release(writes bool) (surplus bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	surplus = s.used > s.size
	s.giveBack(writes)
	return surplus
}

// giveBack is called with the mutex held.
func (s *slots) giveBack(writes bool) {
	s.used--
	if writes {
		s.writes--
	}
	s.grant()
}

// resize sets the number of slots, and reports whether they have become fewer. Calls under way beyond them end by themselves.
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
	return s.used+s.urgent.Len()+s.reading.Len()+s.writing.Len() > 0
}

// grant grants free slots; the mutex is held.
func (s *slots) grant() {
	for s.used < s.size {
		var queue *list.List
		yields := s.hurried == urgentBefore
		switch {
		case s.urgent.Len() > 0 && !yields:
			if queue = &s.urgent; s.reading.Len()+s.writing.Len() > 0 {
				s.hurried++
			}
		case s.used >= max(1, s.size-1) && !yields:
			return
		case s.writing.Len() > 0 && (s.writes < maxWrites || yields) && (s.reading.Len() == 0 || s.passed == readsBefore):
			queue, s.passed = &s.writing, 0
		case s.reading.Len() > 0:
			if queue = &s.reading; s.writing.Len() > 0 {
				s.passed = min(s.passed+1, readsBefore)
			}
		case s.urgent.Len() > 0: // the others wait no longer
			queue = &s.urgent
		default:
			return
		}
		next := queue.Front()
		if queue == &s.urgent {
			next = s.nextUrgent()
		} else {
			s.hurried = 0
		}
		request := queue.Remove(next).(*slotRequest)
		s.used++
		if request.writes {
			s.writes++
		}
		close(request.granted)
	}
}

// nextUrgent returns the oldest urgent call of the user whose last turn is the longest ago: one user with many calls delays no other's.
func (s *slots) nextUrgent() *list.Element {
	if s.urgent.Len() == 1 {
		clear(s.turns)
	}
	last := func(element *list.Element) int { return s.turns[element.Value.(*slotRequest).user] }
	next := s.urgent.Front()
	for other := next; other != nil && last(next) > 0; other = other.Next() {
		if last(other) < last(next) {
			next = other
		}
	}
	s.turn++
	s.turns[next.Value.(*slotRequest).user] = s.turn
	return next
}

type urgentKey struct{}

// Urgent returns a context whose calls go before others, because a client waits for them.
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

const (
	// warmupSpread is the time over which processes spread their first calls in a session that has just changed for all of them; the auth driver of
	// the first takes some 0.3 s.
	warmupSpread = 1500 * time.Millisecond
	// warmupWait bounds how long a call waits for the first one in its session.
	warmupWait = 2 * time.Second
	maxWarmups = 10_000
)

// warmups lets the first call in a session go ahead of the others. oned runs an auth driver for every call that arrives before it has cached the
// session: at the change of the tokens, and at a new leader, one for each call of every process.
//
// Safety: none is needed, it only saves cost. Liveness: no call waits for longer than warmupWait.
type warmups struct {
	spread time.Duration

	mutex sync.Mutex
	known map[warmupKey]*warmup
}

// warmupKey is a session at a server: each caches its own.
type warmupKey struct{ endpoint, user string }

type warmup struct {
	// period is the token period of the last call that oned accepted, -1 for none.
	period int64
	// under is closed when the call that goes ahead has ended; nil without one.
	under chan struct{}
}

// enter returns when a call may be made. The caller reports to ended whether oned accepted the session. Calls for which a client waits do not wait
// here.
func (w *warmups) enter(ctx context.Context, key warmupKey, period int64) (ended func(accepted bool)) {
	hurries := isUrgent(ctx)
	ended = func(accepted bool) { w.end(key, period, nil, accepted) }
	waited := time.NewTimer(warmupWait)
	defer waited.Stop()
	w.mutex.Lock()
	one := w.entry(key)
	for one.period != period && one.under != nil && !hurries {
		ahead := one.under
		w.mutex.Unlock()
		select {
		case <-ahead:
		case <-waited.C:
			return ended
		case <-ctx.Done():
			return ended
		}
		w.mutex.Lock()
		one = w.entry(key)
	}
	if one.period == period || hurries {
		w.mutex.Unlock()
		return ended
	}
	under := make(chan struct{})
	one.under = under
	changed := one.period >= 0
	w.mutex.Unlock()
	if changed {
		_ = idle.For(ctx, rand.N(w.spread))
	}
	return func(accepted bool) { w.end(key, period, under, accepted) }
}

// entry is called with the mutex held.
func (w *warmups) entry(key warmupKey) *warmup {
	if one := w.known[key]; one != nil {
		return one
	}
	if len(w.known) >= maxWarmups {
		clear(w.known)
	}
	one := &warmup{period: -1}
	w.known[key] = one
	return one
}

// end lets the others go on. Only the call that went ahead takes the period back, as oned's clock was: another one may be late.
func (w *warmups) end(key warmupKey, period int64, under chan struct{}, accepted bool) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	one := w.entry(key)
	if accepted && (under != nil || period > one.period) {
		one.period = period
	}
	if under != nil {
		close(under)
		if one.under == under {
			one.under = nil
		}
	}
}
