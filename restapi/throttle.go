package restapi

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"
)

// busyError asks the client to come again.
type busyError struct {
	status  int
	after   time.Duration
	message string
}

func (e *busyError) Error() string { return e.message }

// seconds is Retry-After's, at least one.
func (e *busyError) seconds() int { return max(1, int(math.Ceil(e.after.Seconds()))) }

// throttle gives every user so many requests a second, and twice as many at
// once. Changes and reads count apart.
type throttle struct {
	now func() time.Time
	max int

	mu      sync.Mutex
	buckets map[bucketKey]*bucket
}

type bucketKey struct {
	uid     int
	changes bool
}

// bucket holds what a user may still ask for.
type bucket struct {
	tokens float64
	at     time.Time
}

func newThrottle(most int) *throttle {
	return &throttle{now: time.Now, max: most, buckets: map[bucketKey]*bucket{}}
}

// admit takes one request out of the user's bucket. Its error names the time to wait.
func (t *throttle) admit(key bucketKey, rate float64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, burst := t.now(), 2*rate
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
		return nil
	}
	wait := time.Duration((1 - b.tokens) / rate * float64(time.Second))
	return &busyError{http.StatusTooManyRequests, wait, fmt.Sprintf("more than %g requests of this kind a second; ask again in a moment", rate)}
}

// makeRoom drops the buckets of users who have not asked for a while: they are full.
func (t *throttle) makeRoom(now time.Time) {
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
