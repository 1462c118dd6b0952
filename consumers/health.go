package consumers

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// health is whether the worker can do its work, told once at each change.
type health struct {
	mutex   sync.Mutex
	held    map[int]string // what holds a service up, by service
	reason  string         // the first thing that held one up
	changed time.Time
}

// note takes the end of a service's turn into account. What holds up one service alone
// does not count.
func (h *health) note(logger *slog.Logger, service int, end outcome, err error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if end == retry && !errors.Is(err, pipeline.ErrNewer) {
		h.hold(logger, service, err.Error())
		return
	}
	h.release(logger, service)
}

// forget leaves out a service that is no longer driven here.
func (h *health) forget(logger *slog.Logger, service int) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.release(logger, service)
}

func (h *health) hold(logger *slog.Logger, service int, reason string) {
	if h.held == nil {
		h.held = map[int]string{}
	}
	h.held[service] = reason
	if h.reason == "" {
		h.reason, h.changed = reason, time.Now()
		logger.Warn("the worker is blocked, retrying; nothing is lost", "reason", reason)
	}
}

func (h *health) release(logger *slog.Logger, service int) {
	if _, held := h.held[service]; !held {
		return
	}
	delete(h.held, service)
	if len(h.held) > 0 {
		return
	}
	logger.Info("the worker works again", "held_up_for", time.Since(h.changed).Round(time.Millisecond))
	h.reason, h.changed = "", time.Now()
}
