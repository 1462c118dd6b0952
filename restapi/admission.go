package restapi

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

type admission struct {
	limits   limits
	throttle *throttle
	// working, receiving and streams are the slots of requests in progress, of bodies being received, and of event streams; showing are
	// the bytes of documents in answers.
	working, receiving, streams, showing *slots
}

func newAdmission(limits limits) *admission {
	return &admission{
		limits: limits, throttle: &throttle{now: time.Now, max: limits.verdicts, buckets: map[bucketKey]*rate.Limiter{}},
		working: newSlots(limits.requests, limits.requests), receiving: newSlots(limits.receiving, limits.receiving), streams: newSlots(limits.streams, limits.streamsOfUser),
		showing: newSlots(limits.showing, limits.showing),
	}
}

// admit reads a request's body into memory, within the limits of a body and of the user's rate: commands stay in NATS for
// days, and answers for one. Then it gives the request one of the slots of requests in progress. Receiving needs a slot of
// another kind, so that a client that sends slowly delays only its own user.
func (a *admission) admit(w http.ResponseWriter, r *request) (release func(), err error) {
	uid := r.caller.Identity.UID
	stored := 0
	if r.Method != http.MethodGet {
		stored = storedOfChange
	}
	if r.ContentLength != 0 {
		received, ok := a.receiving.acquire(uid, 1)
		if !ok {
			return nil, busy(http.StatusServiceUnavailable, time.Second, "too many requests are being received, of this user or of all users; try again")
		}
		r.text, err = io.ReadAll(http.MaxBytesReader(w, r.Body, a.limits.body))
		received()
	}
	if wait, ok := a.charge(uid, len(r.text)+stored); !ok {
		return nil, busy(http.StatusTooManyRequests, wait, "more than %d bytes a second of changes, and %d at once; try again in a moment", a.limits.bytes, a.limits.bytesAtOnce)
	}
	if tooLarge, is := errors.AsType[*http.MaxBytesError](err); is {
		return nil, failure(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	release, ok := a.working.acquire(uid, 1)
	if !ok {
		return nil, busy(http.StatusServiceUnavailable, time.Second, "too many requests are in progress, of this user or of all users; try again")
	}
	return release, nil
}

// storedOfChange is about how many bytes NATS keeps of a change beside its body: the command, its status and its history.
const storedOfChange = 1 << 10

// charge takes bytes that NATS will keep from the user's share, or returns how long to wait for them.
func (a *admission) charge(uid, bytes int) (wait time.Duration, ok bool) {
	return a.throttle.take(bucketKey{uid: uid, bytes: true}, bytes, float64(a.limits.bytes), a.limits.bytesAtOnce)
}

// slots are shared fairly among users: when n users have slots, none gets more than an (n+1)th part, which leaves room for
// one more user. A user without any gets as many as he asks for.
type slots struct {
	// mostOfUser bounds a user's slots however few others there are.
	most, mostOfUser int

	mu     sync.Mutex
	taken  int
	byUser map[int]int
	freed  chan struct{} // is closed at the next release, nil if nobody waits for it
}

func newSlots(most, mostOfUser int) *slots {
	return &slots{most: most, mostOfUser: mostOfUser, byUser: map[int]int{}}
}

// acquire gives the user slots until release is called; ok reports whether they were free.
func (s *slots) acquire(uid, count int) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	users, own := len(s.byUser), s.byUser[uid]
	if own == 0 {
		users++
	}
	share := max(1, s.most/(users+1))
	if s.taken >= s.most || own > 0 && own+count > min(share, s.mostOfUser) {
		return nil, false
	}
	s.taken += count
	s.byUser[uid] += count
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken -= count
		if s.byUser[uid] -= count; s.byUser[uid] == 0 {
			delete(s.byUser, uid)
		}
		if s.freed != nil {
			close(s.freed)
			s.freed = nil
		}
	}), true
}

// nextRelease returns a channel that is closed when slots are released.
func (s *slots) nextRelease() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.freed == nil {
		s.freed = make(chan struct{})
	}
	return s.freed
}

type throttle struct {
	now func() time.Time
	max int // how many buckets are remembered

	mu      sync.Mutex
	buckets map[bucketKey]*rate.Limiter
}

// bucketKey is a user's reads, changes, or bytes of changes, which are limited separately.
type bucketKey struct {
	uid            int
	changes, bytes bool
}

// take removes count tokens from the user's bucket, which fills at aSecond and holds burst, or returns how long to wait for them.
func (t *throttle) take(key bucketKey, count int, aSecond float64, burst int) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	bucket := t.buckets[key]
	if bucket == nil {
		makeRoom(t.buckets, t.max, func(b *rate.Limiter) bool { return b.TokensAt(now) >= float64(b.Burst()) }) // full again
		bucket = rate.NewLimiter(rate.Limit(aSecond), burst)
		t.buckets[key] = bucket
	}
	if bucket.AllowN(now, count) {
		return 0, true
	}
	return time.Duration((float64(count) - bucket.TokensAt(now)) / aSecond * float64(time.Second)), false
}

// makeRoom shrinks a map to less than most entries: it drops those of the first kind, then those of the next while the map is full, and at last any.
func makeRoom[K comparable, V any](entries map[K]V, most int, kinds ...func(V) bool) {
	for _, drop := range kinds {
		if len(entries) >= most {
			maps.DeleteFunc(entries, func(_ K, value V) bool { return drop(value) })
		}
	}
	for key := range entries {
		if len(entries) < most {
			return
		}
		delete(entries, key)
	}
}
