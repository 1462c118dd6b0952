package restapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"
)

const (
	// probeTTL is for how long an answer of oned about its version stands: the
	// path needs no credentials, and must not be a way to load oned.
	probeTTL     = 2 * time.Second
	probeTimeout = 2 * time.Second
)

// healthView is the answer of /flowjet/v1/health.
type healthView struct {
	// Live is always true: the process answers.
	Live bool `json:"live"`
	// Ready is true if requests can be served; Reasons are why not.
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
	// Feeds are the endpoints of hook events that this process listens to.
	Feeds []FeedHealth `json:"feeds"`
}

// FeedHealth is the state of a bridge's connection to one endpoint of hook events.
// Feeds that are not connected hold no request up, and do not make the API unready.
type FeedHealth struct {
	Endpoint  string `json:"endpoint"`
	Connected bool   `json:"connected"`
	// SilentSeconds is how long nothing was heard.
	SilentSeconds   int     `json:"silent_seconds"`
	EventsPerSecond float64 `json:"events_per_second"`
	// Gaps counts the times in which events may have been lost, and been made up
	// for by a comparison with oned; LastResync is when the last one succeeded.
	Gaps       uint64    `json:"gaps"`
	LastResync time.Time `json:"last_resync,omitzero"`
	// Role is solo, leader, follower, candidate, or empty while unknown.
	Role  string `json:"role"`
	Leads bool   `json:"leads"`
	// Publishes is true if this bridge, and no other one, stores the events.
	Publishes bool `json:"publishes"`
	// Waiting counts the events not stored yet, of which Spilled are on disk.
	Waiting int    `json:"waiting"`
	Spilled int    `json:"spilled"`
	Error   string `json:"error,omitempty"`
}

// health answers requests for the state of this process, without credentials.
type health struct {
	queue    queue
	oned     session
	feeds    func() []FeedHealth
	notReady func() []string
	version  string

	mu sync.Mutex
	// asked is when oned was asked for its version, and onedErr how that ended.
	asked   time.Time
	onedErr error
}

// show answers 200 if requests can be served and 503 if not.
func (h *health) show(w http.ResponseWriter, r *http.Request) {
	reasons := []string{}
	if state := h.queue.State(); !state.Connected {
		reasons = append(reasons, fmt.Sprintf("NATS has been unreachable since %s: %s", state.Since.UTC().Format(time.RFC3339), cmp.Or(state.Error, "the connection was lost")))
	}
	if err := h.askOned(r.Context()); err != nil {
		reasons = append(reasons, fmt.Sprintf("oned does not answer: %v", err))
	}
	view := healthView{Live: true, Reasons: append(reasons, h.notReady()...), Feeds: append([]FeedHealth{}, h.feeds()...)}
	status := http.StatusServiceUnavailable
	if view.Ready = len(view.Reasons) == 0; view.Ready {
		status = http.StatusOK
	}
	writePretty(w, r, status, view)
}

// askOned reports whether oned is there, and asks not more often than every probeTTL. It
// holds the lock while it asks, so that concurrent requests share one answer.
func (h *health) askOned(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.asked.IsZero() && time.Since(h.asked) < probeTTL {
		return h.onedErr
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	_, h.onedErr = h.oned.Version(ctx)
	h.asked = time.Now()
	return h.onedErr
}

func (h *health) showVersion(w http.ResponseWriter, r *http.Request) {
	writePretty(w, r, http.StatusOK, map[string]string{"version": h.version, "go": runtime.Version()})
}

func writePretty(w http.ResponseWriter, r *http.Request, status int, view any) {
	reply, err := pretty(status, view)
	if err != nil {
		fail(w, r, err)
		return
	}
	reply.write(w, r)
}
