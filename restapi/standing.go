package restapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// standingTTL is for how long a look at the work stands: it takes some dozen
// questions to NATS, and a page that is open asks again and again.
const standingTTL = 2 * time.Second

// workView is what /flowjet/v1/work says.
type workView struct {
	pipeline.Standing
	// CommandsWaiting is how many commands wait for their workers.
	CommandsWaiting int `json:"commands_waiting"`
}

// work says who does the work and what waits, to administrators: it names
// machines, and counts what all users do.
func (s *Server) work(ctx context.Context, r *request) (answer, error) {
	if !r.caller.isAdmin() {
		return answer{}, &statusError{http.StatusUnauthorized, "who does the work is told to oneadmin and members of its group only"}
	}
	standing, err := s.standing.look(ctx, s.queue)
	if err != nil {
		return answer{}, &queueError{err}
	}
	return pretty(http.StatusOK, workView{standing, s.backlog.size()})
}

// standings looks at the work, not more often than every standingTTL. The
// workers are listened to from the first look on.
type standings struct {
	mu       sync.Mutex
	observer *pipeline.Observer
	last     pipeline.Standing
	at       time.Time
}

// introduction is how long workers take to be heard of: more than twice the
// time between two heartbeats.
const introduction = 500 * time.Millisecond

func (o *standings) look(ctx context.Context, of queue) (pipeline.Standing, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.at) < standingTTL {
		return o.last, nil
	}
	if err := o.listen(ctx, of); err != nil {
		return pipeline.Standing{}, err
	}
	standing, err := o.observer.Standing(ctx)
	if err == nil {
		o.last, o.at = standing, time.Now()
	}
	return standing, err
}

func (o *standings) listen(ctx context.Context, of queue) error {
	if o.observer != nil {
		return nil
	}
	observer, err := of.Observe()
	if err != nil {
		return err
	}
	heard := time.NewTimer(introduction)
	defer heard.Stop()
	select {
	case <-heard.C:
		o.observer = observer
		return nil
	case <-ctx.Done():
		observer.Stop()
		return ctx.Err()
	}
}

func (o *standings) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.observer != nil {
		o.observer.Stop()
		o.observer = nil
	}
}
