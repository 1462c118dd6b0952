package restapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

const (
	// keyLeaseLength is for how long a reservation has to be seen unchanged until another
	// API takes over a request from one that has died. It is counted by the other's clock, so
	// that the clocks of two hosts need not agree.
	keyLeaseLength = 3 * time.Second
	// keyRenewal is how often the reservation is renewed while a request is being worked on.
	keyRenewal = 750 * time.Millisecond
	// longDead is after how long, by the clocks of both, nobody needs to be waited for.
	longDead = time.Minute
	// keyPoll is how often a waiting request reads the reservation.
	keyPoll = 50 * time.Millisecond
)

// reservations are the entries of a key-value bucket that all APIs share: keys of
// requests, and locks on documents.
type reservations struct {
	queue queue
	// wait bounds how long a request waits for another one.
	wait   time.Duration
	logger *slog.Logger
}

// takeOver waits until a reservation of another request has an answer, or is held
// by nobody any more. In the second case it stores heir, or what was held before where that
// is nil.
func (s *reservations) takeOver(ctx context.Context, name string, held pipeline.Reservation, revision uint64,
	heir *pipeline.Reservation, busy error,
) (pipeline.Reservation, uint64, error) {
	limit := time.NewTimer(s.wait)
	defer limit.Stop()
	poll := time.NewTicker(keyPoll)
	defer poll.Stop()
	var holder watchedHolder
	for held.Answer == nil {
		if holder.dead(held, revision) {
			mine := *cmp.Or(heir, &held)
			mine.Taken = time.Now().UTC()
			taken, err := s.queue.UpdateReservation(ctx, name, mine, revision)
			if !errors.Is(err, pipeline.ErrConflict) {
				return mine, taken, asQueueError(err)
			}
		}
		select {
		case <-poll.C:
		case <-limit.C:
			return pipeline.Reservation{}, 0, busy
		}
		var err error
		if held, revision, err = s.queue.Reservation(ctx, name); err != nil {
			return held, 0, &queueError{err}
		}
	}
	return held, revision, nil
}

// release gives a reservation up, even if the client has gone. Where that fails
// its lease ends by itself.
func (s *reservations) release(ctx context.Context, name string, held pipeline.Reservation, revision uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	held.Taken = time.Time{}
	if _, err := s.queue.UpdateReservation(ctx, name, held, revision); err != nil && !errors.Is(err, pipeline.ErrConflict) {
		s.logger.Warn("a reservation was not released; it is released when its lease expires", "reservation", name, "error", err)
	}
}

// alone makes a change that goes to oned directly, and not through a worker,
// safe for requests with If-Match: oned has no compare-and-set on documents, so
// of those requests, whichever API they come to, one is worked on at a time,
// and the document is held against the tag in that time.
func (s *reservations) alone(act documentAction) documentAction {
	return func(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
		tags, err := r.ifMatch()
		if err != nil {
			return answer{}, err
		}
		if len(tags) == 0 || r.dryRun() {
			return act(ctx, r, document, params)
		}
		ctx, cancel := context.WithTimeout(ctx, keyedTimeout)
		defer cancel()
		name := fmt.Sprintf("lock-%d", document.ID)
		mine := pipeline.Reservation{Command: rand.Text(), Taken: time.Now().UTC()}
		held, revision, err := s.queue.Reserve(ctx, name, mine)
		if err != nil {
			return answer{}, &queueError{err}
		}
		if held.Command != mine.Command {
			busy := &busyError{http.StatusConflict, time.Second, fmt.Sprintf("another request with If-Match is changing %s %d; try again", kindNames[document.Type], document.ID)}
			if mine, revision, err = s.takeOver(ctx, name, held, revision, &mine, busy); err != nil {
				return answer{}, err
			}
		}
		lease := s.hold(name, mine, revision, cancel)
		defer func() {
			if revision, superseded := lease.end(); !superseded {
				s.release(ctx, name, mine, revision)
			}
		}()
		if document, err = r.read(ctx, document.Type, document.ID); err != nil {
			return answer{}, err
		}
		if !document.Matches(tags) {
			return answer{}, changed(document)
		}
		return act(ctx, r, document, params)
	}
}

// watchedHolder is what a waiting request has observed of a reservation's holder.
type watchedHolder struct {
	revision uint64
	since    time.Time
}

// dead reports whether nobody works on what the reservation is for.
func (w *watchedHolder) dead(held pipeline.Reservation, revision uint64) bool {
	if revision != w.revision {
		w.revision, w.since = revision, time.Now()
	}
	return held.Taken.IsZero() || time.Since(w.since) > keyLeaseLength || time.Since(held.Taken) > longDead
}

// keyLease is the right to carry out a request with a key. It is renewed until it ends, and
// lost to another API that has not seen it renewed.
type keyLease struct {
	queue queue
	name  string
	lost  context.CancelFunc
	stop  context.CancelFunc
	wait  sync.WaitGroup

	mu         sync.Mutex
	held       pipeline.Reservation
	revision   uint64
	confirmed  time.Time
	superseded bool
}

// hold renews a reservation until the lease ends; lost is called if another API takes it.
func (s *reservations) hold(name string, held pipeline.Reservation, revision uint64, lost context.CancelFunc) *keyLease {
	life, stop := context.WithCancel(context.Background())
	l := &keyLease{queue: s.queue, name: name, lost: lost, stop: stop, held: held, revision: revision, confirmed: time.Now()}
	l.wait.Go(func() {
		for idle.For(life, keyRenewal) == nil {
			_ = l.renew(life) // what fails is tried again
		}
	})
	return l
}

// renew shows the others that the request is being worked on.
func (l *keyLease) renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.superseded {
		return errKeyBusy
	}
	held := l.held
	held.Taken = time.Now().UTC()
	revision, err := l.queue.UpdateReservation(ctx, l.name, held, l.revision)
	switch {
	case errors.Is(err, pipeline.ErrConflict):
		l.superseded = true
		l.lost()
		return errKeyBusy
	case err != nil:
		return asQueueError(err)
	}
	l.held, l.revision, l.confirmed = held, revision, time.Now()
	return nil
}

// confirm returns errKeyBusy if another API carries the request out. It is called before
// something is made: a process that was suspended finds out here.
func (l *keyLease) confirm(ctx context.Context) error {
	l.mu.Lock()
	fresh := !l.superseded && time.Since(l.confirmed) < keyLeaseLength/2
	l.mu.Unlock()
	if fresh {
		return nil
	}
	return l.renew(ctx)
}

// end stops the renewal, and returns the reservation's revision and whether another API has
// taken it.
func (l *keyLease) end() (revision uint64, superseded bool) {
	l.stop()
	l.wait.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision, l.superseded
}
