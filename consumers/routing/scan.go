package routing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

const (
	// scanShare bounds what scanning takes of the time: after a scan there is a pause so many times
	// as long, within longestPause intervals: a scan that hung says nothing about its cost.
	scanShare    = 100
	longestPause = 4
	// scanAgain is when a scan that failed is made again, at the latest.
	scanAgain = 10 * time.Second
	// lateTimer is how late a timer is that has been lost. JetStream fires it within 0.3 s, or
	// as soon as its stream has a leader again.
	lateTimer = 10 * time.Second
)

// scanner finds services that nothing wakes.
type scanner struct {
	services *Services
	records  *work.Records
	interval time.Duration
}

// run wakes the services that wait, or are overdue, although nothing is set to wake them: left
// behind by a lost stream, or an API that died between creating a document and queueing its command.
func (s *scanner) run(ctx context.Context) {
	pause, failed := time.Duration(0), false
	for s.untilScan(ctx, pause) == nil {
		began := time.Now()
		err := s.scan(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			s.services.Logger.Warn("the services could not be checked, retrying", "error", err)
		}
		pause = scanPause(s.interval, time.Since(began))
		if failed = err != nil; failed {
			pause = min(pause, scanAgain)
		}
	}
}

// untilScan waits for so long, or until the zone's leader has changed: what was on its way
// with the old one may have been left behind, and no event tells of that.
func (s *scanner) untilScan(ctx context.Context, pause time.Duration) error {
	term, _ := s.services.Oned.Leadership()
	for end := time.Now().Add(pause); time.Until(end) > 0; {
		if err := idle.For(ctx, min(time.Second, time.Until(end))); err != nil {
			return err
		}
		if now, _ := s.services.Oned.Leadership(); now != term && term > 0 {
			return nil
		}
	}
	return ctx.Err()
}

// scanPause is how long to wait after a scan that took so long.
func scanPause(interval, took time.Duration) time.Duration {
	return min(max(interval, scanShare*took), longestPause*interval)
}

func (s *scanner) scan(ctx context.Context) error {
	err := s.services.Each(ctx, spec.Unasked, func(document opennebula.Document, body spec.Body) error {
		state := spec.Service{Body: body}.State()
		if !state.Watched() && !policy.Overdue(spec.Service{ID: document.ID, Body: body}, time.Now()) {
			return nil
		}
		return s.services.Wake(ctx, document.ID, "found in "+state.String())
	})
	var overdue []int // JetStream may have lost a timer, or never get to send it
	recordsErr := s.records.EachRecord(ctx, func(service int, record pipeline.Record) {
		late := func(timer pipeline.TimerState) bool { return time.Since(timer.Due) > lateTimer }
		if !record.Deleted && slices.ContainsFunc(slices.Collect(maps.Values(record.Timers)), late) {
			overdue = append(overdue, service)
		}
	})
	err = errors.Join(err, recordsErr)
	for _, service := range overdue {
		err = errors.Join(err, s.services.Wake(ctx, service, "its timer is overdue"))
	}
	return err
}

// lostWithLeader is for how long after a change of the leader an event that was found, and
// not heard, counts as one that the old leader did not get published.
const lostWithLeader = time.Minute

// watchLeader wakes, some time after a change of the zone's leader, the services of the VMs that the
// old one has left in the middle of something. Services that wait look by themselves; one that runs
// would not.
func (r *Router) watchLeader(ctx context.Context) {
	searched, logged := 0, 0
	for idle.For(ctx, time.Second) == nil {
		term, since := r.services.Oned.Leadership()
		if term == searched || since.IsZero() || time.Since(since) < r.config.LeaderChange {
			continue
		}
		err := r.wakeLeftBehind(ctx, term, since)
		switch {
		case err == nil:
			searched = term
		case ctx.Err() == nil && logged != term:
			r.services.Logger.Warn("cannot look for VMs that stopped at a change of leader, retrying", "error", err)
			logged = term
		}
	}
}

func (r *Router) wakeLeftBehind(ctx context.Context, term int, since time.Time) error {
	left, err := r.pipe.VMsThat(ctx, one.VM.Changing)
	if err != nil {
		return err
	}
	var wakes []pipeline.Wake
	woken := map[int]bool{}
	for id, event := range left {
		service := event.VM.Service
		if service < 0 || woken[service] || EnteredAt(event, since).After(since) {
			continue
		}
		woken[service] = true
		wakes = append(wakes, pipeline.Wake{
			Work:      pipeline.Work{Service: service, Reason: fmt.Sprintf("%s since before the last change of leader", event.Title())},
			MessageID: fmt.Sprintf("left-%d-%d", term, id),
		})
	}
	if err := r.pipe.PublishWakes(ctx, wakes); err != nil {
		return fmt.Errorf("wake %d services: %w", len(wakes), err)
	}
	return nil
}

// EnteredAt is when a VM came to the state that an event tells of. Of one that was found
// right after the leader had changed, the old leader's event is lost.
func EnteredAt(event pipeline.Event, leader time.Time) time.Time {
	if event.Resync && event.Heard.After(leader) && event.Heard.Before(leader.Add(lostWithLeader)) {
		return leader.Add(-time.Second)
	}
	return event.Heard
}
