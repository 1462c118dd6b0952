package bridge

import (
	"log/slog"
	"sync"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// unparsedEvery is the least time between two lines about hook events that could not be parsed.
const unparsedEvery = time.Minute

// unparsedLog logs hook events that could not be parsed: the first at once, and those that follow within unparsedEvery in one line. Whatever can
// reach oned's port can send as many as it likes.
type unparsedLog struct {
	log *slog.Logger

	mu     sync.Mutex
	pause  *time.Timer // runs after a line; nil without one
	count  int         // events since that line
	reason string      // of the last one
}

// note counts an event, and logs it unless there was a line just now.
func (u *unparsedLog) note(reason string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count++
	u.reason = reason
	if u.pause == nil {
		u.flush()
	}
}

// end logs the rest.
func (u *unparsedLog) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.flush(); u.pause != nil {
		u.pause.Stop()
	}
}

// flush writes a line if there are events, and begins a pause after it. The caller holds the mutex.
func (u *unparsedLog) flush() {
	if u.pause != nil {
		u.pause.Stop()
		u.pause = nil
	}
	if u.count == 0 {
		return
	}
	u.log.Warn("hook events could not be parsed; see the dead letters", "events", u.count, "reason", u.reason, "subject", pipeline.DeadSubject(deadLetterSource))
	u.count = 0
	u.pause = time.AfterFunc(unparsedEvery, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.flush()
	})
}
