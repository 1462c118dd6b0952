package restapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// overviewTTL is for how long an overview is good: it takes some dozen requests to
// NATS, and an open page asks again and again.
const overviewTTL = 2 * time.Second

// workView is the answer of /flowjet/v1/work.
type workView struct {
	inspect.Work
	// CommandsWaiting is how many commands wait for their workers.
	CommandsWaiting int `json:"commands_waiting"`
}

// overview shows the workers and what waits for them, fetched at most every
// overviewTTL. It listens to the workers from the first request on.
type overview struct {
	queue   queue
	backlog *backlog

	mu       sync.Mutex
	observer *inspect.Observer
	last     inspect.Work
	at       time.Time
}

// show answers administrators only: it names machines, and counts what all users do.
func (o *overview) show(ctx context.Context, r *request) (answer, error) {
	if !r.caller.isAdmin() {
		return answer{}, &statusError{http.StatusForbidden, "only oneadmin and members of its group may see workers and feeds"}
	}
	fetched, err := o.fetch(ctx)
	if err != nil {
		return answer{}, &queueError{err}
	}
	return pretty(http.StatusOK, workView{fetched, o.backlog.size()})
}

// introduction is the time in which every live worker is heard: more than twice
// the time between two heartbeats.
const introduction = 500 * time.Millisecond

func (o *overview) fetch(ctx context.Context) (inspect.Work, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.at) < overviewTTL {
		return o.last, nil
	}
	if o.observer == nil {
		observer, err := o.queue.Observe()
		if err != nil {
			return inspect.Work{}, err
		}
		if err := idle.For(ctx, introduction); err != nil {
			observer.Stop()
			return inspect.Work{}, err
		}
		o.observer = observer
	}
	fetched, err := o.observer.Status(ctx)
	if err == nil {
		o.last, o.at = fetched.Work(), time.Now()
	}
	return o.last, err
}

func (o *overview) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.observer != nil {
		o.observer.Stop()
		o.observer = nil
	}
}
