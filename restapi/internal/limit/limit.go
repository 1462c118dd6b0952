// Package limit shares what an API can do among its users.
package limit

import (
	"sync"
	"time"
)

// Slots are a number of slots, shared fairly among users: of n users that have some, none
// gets more than an (n+1)th part, so that there is room for another one.
type Slots struct {
	most int
	// mostOfUser bounds a user's slots however few others there are; 0 is no bound.
	mostOfUser int

	mu     sync.Mutex
	taken  int
	byUser map[int]int
}

// NewSlots returns slots of which a user has at most mostOfUser; 0 is no bound.
func NewSlots(most, mostOfUser int) *Slots {
	return &Slots{most: most, mostOfUser: mostOfUser, byUser: map[int]int{}}
}

// Take gives the user a slot until release is called; ok reports whether there was one.
func (s *Slots) Take(uid int) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	users, own := len(s.byUser), s.byUser[uid]
	if own == 0 {
		users++
	}
	share := max(1, s.most/(users+1))
	if s.mostOfUser > 0 {
		share = min(share, s.mostOfUser)
	}
	if s.taken >= s.most || own >= share {
		return nil, false
	}
	s.taken++
	s.byUser[uid]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken--
		if s.byUser[uid]--; s.byUser[uid] == 0 {
			delete(s.byUser, uid)
		}
	}), true
}

// Throttle gives every user so many requests, and so many bytes, a second. Changes, reads and
// bytes count apart.
type Throttle struct {
	// Now is the clock.
	Now func() time.Time
	max int

	mu      sync.Mutex
	buckets map[Key]*bucket
}

// Key is a user's reads, changes, or bytes of changes.
type Key struct {
	UID            int
	Changes, Bytes bool
}

// bucket holds what a user may still ask for.
type bucket struct {
	tokens float64
	// at is when the tokens were counted, and full when they are back.
	at, full time.Time
}

// NewThrottle returns a throttle that remembers at most so many users.
func NewThrottle(most int) *Throttle {
	return &Throttle{Now: time.Now, max: most, buckets: map[Key]*bucket{}}
}

// Take takes as many as count, of rate a second and burst at once, out of the user's
// bucket, or returns how long to wait for them.
func (t *Throttle) Take(key Key, count, rate, burst float64) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.Now()
	b := t.buckets[key]
	if b == nil {
		t.makeRoom(now)
		b = &bucket{tokens: burst, at: now}
		t.buckets[key] = b
	}
	b.tokens = min(burst, b.tokens+now.Sub(b.at).Seconds()*rate)
	b.at = now
	b.full = now.Add(time.Duration((burst - b.tokens + count) / rate * float64(time.Second)))
	if b.tokens >= count {
		b.tokens -= count
		return 0, true
	}
	return time.Duration((count - b.tokens) / rate * float64(time.Second)), false
}

// makeRoom drops the buckets that are full again.
func (t *Throttle) makeRoom(now time.Time) {
	if len(t.buckets) < t.max {
		return
	}
	for key, b := range t.buckets {
		if now.After(b.full) {
			delete(t.buckets, key)
		}
	}
	for key := range t.buckets {
		if len(t.buckets) < t.max {
			return
		}
		delete(t.buckets, key)
	}
}
