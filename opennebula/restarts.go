package opennebula

import (
	"errors"
	"sync"
	"syscall"
	"time"
)

// restarts counts how often a oned that has no others was down and came back: whatever
// its drivers were at is lost then, as when a leader dies.
type restarts struct {
	mutex sync.Mutex
	down  bool
	count int
	since time.Time
}

// note takes the end of a call into account. Only a refused connection proves that no
// oned runs.
func (r *restarts) note(err error) {
	_, refused := asError(err)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		r.down = true
	case r.down && (err == nil || refused):
		r.down = false
		r.count++
		r.since = time.Now()
	}
}

// life counts lives of oned as term does, and counts the next as soon as this one has ended.
func (r *restarts) life() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.down {
		return r.count + 2
	}
	return r.count + 1
}

// term counts lives of oned from 1, as terms are counted in a zone of several.
func (r *restarts) term() (term int, since time.Time) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.count + 1, r.since
}
