package limit

import (
	"sync"
	"time"
)

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

// Take takes one request of so many a second, and twice as many at once, out of the user's
// bucket, or returns how long to wait for it.
func (t *Throttle) Take(key Key, rate float64) (wait time.Duration, ok bool) {
	return t.TakeMany(key, 1, rate, 2*rate)
}

// TakeMany takes as many as count, of rate a second and burst at once.
func (t *Throttle) TakeMany(key Key, count, rate, burst float64) (wait time.Duration, ok bool) {
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
