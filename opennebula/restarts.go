package opennebula

import (
	"errors"
	"sync"
	"syscall"
	"time"
)

// restarts counts how often oneds were down and came back: whatever the drivers of one that
// has no others were at is lost then, as when a leader dies.
type restarts struct {
	mutex sync.Mutex
	down  map[string]bool // by endpoint
	// ended counts those that were found down, and returned those that came back.
	ended, returned int
	since           time.Time
}

// note takes the end of a call into account: an error without one is an answer. Only a
// refused connection proves that no oned runs.
func (r *restarts) note(endpoint string, err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) && !r.down[endpoint]:
		if r.down == nil {
			r.down = map[string]bool{}
		}
		r.down[endpoint] = true
		r.ended++
	case err == nil && r.down[endpoint]:
		delete(r.down, endpoint)
		r.returned++
		r.since = time.Now()
	}
}

// ends counts the lives of oneds that are known to have ended.
func (r *restarts) ends() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.ended
}

// term counts the lives of a oned that has no others from 1, as terms are counted in a zone
// of several.
func (r *restarts) term() (term int, since time.Time) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.returned + 1, r.since
}
