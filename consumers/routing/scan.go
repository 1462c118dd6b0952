package routing

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

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
