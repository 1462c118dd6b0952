package restapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

const (
	// probeTTL is how long an answer of oned about its version is reused: the path needs no credentials, and must not be a
	// way to load oned.
	probeTTL     = 2 * time.Second
	probeTimeout = 2 * time.Second
)

type healthView struct {
	// Live is always true: the process answers.
	Live bool `json:"live"`
	// Ready is true if requests can be served; Reasons are why not.
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
	// Feeds are the endpoints of hook events that this process listens to.
	Feeds []FeedHealth `json:"feeds"`
}

// FeedHealth is the state of a bridge's connection to one endpoint of hook events. Feeds that are not connected delay no
// request, and do not make the API unready.
type FeedHealth struct {
	Endpoint  string `json:"endpoint"`
	Connected bool   `json:"connected"`
	// SilentSeconds is how long nothing was heard.
	SilentSeconds   int     `json:"silent_seconds"`
	EventsPerSecond float64 `json:"events_per_second"`
	// Gaps counts the times when events may have been lost and were replaced by a comparison with oned; LastResync is when
	// the last comparison succeeded.
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
	// asked is when oned was asked for its version, and onedErr the result.
	asked   time.Time
	onedErr error
}

// show answers 200 if requests can be served and 503 if not.
func (h *health) show(w http.ResponseWriter, r *http.Request) error {
	reasons := []string{}
	if state := h.queue.State(); !state.Connected {
		reasons = append(reasons, fmt.Sprintf("NATS has been unreachable since %s: %s", state.Since.UTC().Format(time.RFC3339), cmp.Or(state.Error, "the connection was lost")))
	}
	err := h.askOned(r.Context())
	_, refused := errors.AsType[*opennebula.ServerUserError](err)
	switch {
	case refused:
		reasons = append(reasons, err.Error())
	case err != nil:
		reasons = append(reasons, fmt.Sprintf("oned does not answer: %v", err))
	}
	view := healthView{Live: true, Reasons: append(reasons, h.notReady()...), Feeds: append([]FeedHealth{}, h.feeds()...)}
	status := http.StatusServiceUnavailable
	if view.Ready = len(view.Reasons) == 0; view.Ready {
		status = http.StatusOK
	}
	reply, err := pretty(status, view)
	reply.write(w, r)
	return err
}

// askOned reports whether oned answers, and asks at most every probeTTL. It holds the lock while it asks, so that
// concurrent requests share one answer.
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

func (h *health) showVersion(w http.ResponseWriter, r *http.Request) error {
	reply, err := pretty(http.StatusOK, map[string]string{"version": h.version, "go": runtime.Version()})
	reply.write(w, r)
	return err
}

type diagnosis struct {
	queue queue
	// oned is the server user's session: a user may see a service, and not each of its VMs.
	oned session
}

// why explains a service's state to users who may see the service. While oned is away its owner and administrators get an
// explanation from NATS alone.
func (d *diagnosis) why(ctx context.Context, r *request) (answer, error) {
	document, err := r.document(ctx, spec.DocumentTypeService)
	if opennebula.Temporary(err) {
		return d.whileAway(ctx, r, err)
	}
	if err != nil {
		return answer{}, err
	}
	body, _, unreadable := spec.ReadService(document.Body)
	why, err := d.queue.Why(ctx, document.ID, d.oned.Refresh)
	unhandled := errors.Is(err, pipeline.ErrNotFound)
	switch {
	case unhandled && unreadable != nil:
		why, err = inspect.Unreadable(document.ID, document.Name, document.Owner.UName, unreadable), nil
	case unhandled: // no worker has handled it: its document explains it
		record := pipeline.Record{State: flow.State{Service: spec.Service{ID: document.ID, Owner: document.Owner, Body: body}}}
		why, err = inspect.Explain(document.ID, record, nil, nil, time.Now()), nil
	case unreadable != nil:
		why.Unreadable(unreadable)
	}
	if err != nil {
		return answer{}, asQueueError(err)
	}
	return pretty(http.StatusOK, why)
}

// whileAway explains a service from NATS: reason is why oned was not asked. The record names the owner, but not what its
// permissions grant.
func (d *diagnosis) whileAway(ctx context.Context, r *request, reason error) (answer, error) {
	id, err := r.id("id", kindNames[spec.DocumentTypeService])
	if err != nil {
		return answer{}, err
	}
	record, revision, err := d.queue.LoadRecord(ctx, id)
	if err != nil {
		return answer{}, asQueueError(err)
	}
	owns := record.State.Service.Owner.UID == r.caller.Identity.UID
	if revision == 0 || !owns && !r.caller.isAdmin() {
		return answer{}, reason
	}
	away := func(_ context.Context, state flow.State) (flow.State, flow.Facts, error) { return state, nil, reason }
	why, err := d.queue.Why(ctx, id, away)
	if err != nil {
		return answer{}, asQueueError(err)
	}
	return pretty(http.StatusOK, why)
}

// overviewTTL is how long an overview is reused: it takes some dozen requests to NATS, and an open page requests it again
// and again.
const overviewTTL = 2 * time.Second

type workView struct {
	inspect.Work
	// CommandsWaiting is how many commands wait for their workers.
	CommandsWaiting int `json:"commands_waiting"`
}

// overview shows the workers and the messages that wait for them, fetched at most every overviewTTL.
type overview struct {
	backlog  *backlog
	observer *inspect.Observer
	began    time.Time
	// err is why the workers cannot be observed.
	err error
}

// introduction is the time in which every live worker is heard: more than twice the heartbeats' interval.
const introduction = 500 * time.Millisecond

// show answers administrators only: the overview names machines, and counts all users' requests.
func (o *overview) show(ctx context.Context, r *request) (answer, error) {
	if !r.caller.isAdmin() {
		return answer{}, failure(http.StatusForbidden, "only oneadmin and members of its group may see workers and feeds")
	}
	err := cmp.Or(o.err, idle.For(ctx, time.Until(o.began.Add(introduction))))
	if err != nil {
		return answer{}, &queueError{err}
	}
	fetched, err := o.observer.Work(ctx, overviewTTL)
	if err != nil {
		return answer{}, &queueError{err}
	}
	return pretty(http.StatusOK, workView{fetched, o.backlog.size()})
}
