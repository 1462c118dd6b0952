package limit

import (
	"sync"
	"time"
)

// Throttle gives every user so many requests a second, and twice as many at
// once. Changes and reads count apart.
type Throttle struct {
	// Now is the clock.
	Now func() time.Time
	max int

	mu      sync.Mutex
	buckets map[Key]*bucket
}

// Key is a user's reads or changes.
type Key struct {
	UID     int
	Changes bool
}

// bucket holds what a user may still ask for.
type bucket struct {
	tokens float64
	at     time.Time
}

// NewThrottle returns a throttle that remembers at most so many users.
func NewThrottle(most int) *Throttle {
	return &Throttle{Now: time.Now, max: most, buckets: map[Key]*bucket{}}
}

// Take takes one request of so many a second out of the user's bucket, or returns how
// long to wait for it.
func (t *Throttle) Take(key Key, rate float64) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, burst := t.Now(), 2*rate
	b := t.buckets[key]
	if b == nil {
		t.makeRoom(now)
		b = &bucket{tokens: burst, at: now}
		t.buckets[key] = b
	}
	b.tokens = min(burst, b.tokens+now.Sub(b.at).Seconds()*rate)
	b.at = now
	if b.tokens >= 1 {
		b.tokens--
		return 0, true
	}
	return time.Duration((1 - b.tokens) / rate * float64(time.Second)), false
}

// makeRoom drops the buckets of users who have not asked for a while: they are full.
func (t *Throttle) makeRoom(now time.Time) {
	if len(t.buckets) < t.max {
		return
	}
	for key, b := range t.buckets {
		if now.Sub(b.at) > 2*time.Second {
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
