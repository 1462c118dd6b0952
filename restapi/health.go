package restapi

import (
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

// healthView is what /flowjet/v1/health says.
type healthView struct {
	// Live reports whether the process works at all.
	Live bool `json:"live"`
	// Ready reports whether requests can be served; Reasons say why not.
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
	// Feeds are the endpoints of hook events that this process listens to.
	Feeds []FeedHealth `json:"feeds"`
}

// FeedHealth says how a bridge hears one endpoint of hook events. Feeds that are
// not connected hold no request up, and do not make the API unready.
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
	// Publishes reports whether this bridge stores the events, and no other one.
	Publishes bool `json:"publishes"`
	// Waiting counts the events not stored yet, of which Spilled are on disk.
	Waiting int    `json:"waiting"`
	Spilled int    `json:"spilled"`
	Error   string `json:"error,omitempty"`
}

// health answers 200 if everything is there and 503 if not.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	view := healthView{Live: true, Reasons: s.reasons(r.Context()), Feeds: append([]FeedHealth{}, s.config.Feeds()...)}
	status := http.StatusServiceUnavailable
	if view.Ready = len(view.Reasons) == 0; view.Ready {
		status = http.StatusOK
	}
	s.tell(w, r, status, view)
}

// reasons are why requests cannot be served.
func (s *Server) reasons(ctx context.Context) []string {
	reasons := []string{}
	if state := s.queue.State(); !state.Connected {
		reasons = append(reasons, fmt.Sprintf("NATS is out of reach since %s: %s", state.Since.UTC().Format(time.RFC3339), orDefault(state.Error, "the connection was lost")))
	}
	if err := s.probe.check(ctx); err != nil {
		reasons = append(reasons, fmt.Sprintf("oned does not answer: %v", err))
	}
	return append(reasons, s.config.NotReady()...)
}

func (s *Server) version(w http.ResponseWriter, r *http.Request) {
	s.tell(w, r, http.StatusOK, map[string]string{"version": s.config.Version, "go": runtime.Version()})
}

func (s *Server) tell(w http.ResponseWriter, r *http.Request, status int, view any) {
	reply, err := pretty(status, view)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	reply.write(w)
}

// probe asks oned whether it is there, not more often than every probeTTL.
type probe struct {
	oned session

	mu    sync.Mutex
	asked time.Time
	err   error
}

func newProbe(oned session) *probe { return &probe{oned: oned} }

// check holds the lock while it asks, so that one asks and the others wait for
// its answer.
func (p *probe) check(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked.IsZero() && time.Since(p.asked) < probeTTL {
		return p.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	_, p.err = p.oned.Version(ctx)
	p.asked = time.Now()
	return p.err
}
