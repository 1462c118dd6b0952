package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

const (
	// servicesPage is how many services are listed by one call: oned puts an
	// answer together as a whole, and with ten VMs a service has 4 KB.
	servicesPage = 500
	// scanShare bounds what scanning takes of the time: after a scan there is a
	// pause so many times as long, if that is within longestPause intervals. A
	// scan that hung while oned was away says nothing about its cost.
	scanShare    = 100
	longestPause = 4
	// scanAgain is when a scan that failed is made again, at the latest.
	scanAgain = 10 * time.Second
)

// scanRegularly wakes the services that wait, or are overdue, although nothing is
// set to wake them: left behind by another server, by a lost stream, or by an API
// that died between creating a document and queueing its command.
func (w *Worker) scanRegularly(ctx context.Context) {
	pause, failed := time.Duration(0), false
	for w.untilScan(ctx, pause) == nil {
		began := time.Now()
		err := w.scan(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			w.config.Logger.Warn("the services could not be looked through; it is tried again", "error", err)
		}
		pause = scanPause(w.config.ScanInterval, time.Since(began))
		if failed = err != nil; failed {
			pause = min(pause, scanAgain)
		}
	}
}

// untilScan waits for so long, or until the zone's leader has changed: what was on its way
// with the old one may have been left behind, and no event tells of that.
func (w *Worker) untilScan(ctx context.Context, pause time.Duration) error {
	term, _ := w.oned.Leadership()
	for end := time.Now().Add(pause); time.Until(end) > 0; {
		if err := idle.For(ctx, min(time.Second, time.Until(end))); err != nil {
			return err
		}
		if now, _ := w.oned.Leadership(); now != term && term > 0 {
			return nil
		}
	}
	return ctx.Err()
}

// scanPause is how long to wait after a scan that took so long.
func scanPause(interval, took time.Duration) time.Duration {
	return min(max(interval, scanShare*took), longestPause*interval)
}

func (w *Worker) scan(ctx context.Context) error {
	err := w.eachService(ctx, flow.Unasked, func(document opennebula.Document, body flow.Body) error {
		state := flow.Service{Body: body}.State()
		if !state.Watched() && !flow.Overdue(flow.Service{ID: document.ID, Body: body}, time.Now()) {
			return nil
		}
		return w.wake(ctx, document.ID, "found in "+state.String())
	})
	return errors.Join(err, w.wakeOverdue(ctx))
}

// lateTimer is how late a timer is that has been lost. JetStream fires it within 0.3 s, or
// as soon as its stream has a leader again.
const lateTimer = 10 * time.Second

// wakeOverdue wakes the services whose timers should have fired: JetStream may have lost one,
// or never get to send it.
func (w *Worker) wakeOverdue(ctx context.Context) error {
	var overdue []int
	err := w.pipe.EachRecord(ctx, func(service int, record pipeline.Record) {
		late := func(timer pipeline.TimerState) bool { return time.Since(timer.Due) > lateTimer }
		if !record.Deleted && slices.ContainsFunc(slices.Collect(maps.Values(record.Timers)), late) {
			overdue = append(overdue, service)
		}
	})
	for _, service := range overdue {
		err = errors.Join(err, w.wake(ctx, service, "its timer is overdue"))
	}
	return err
}

// eachService goes through all services, a page at a time and the newest first.
// One that is made or deleted meanwhile may be visited twice or left out. One
// that cannot be read is left out, and so is one whose text skip knows.
func (w *Worker) eachService(ctx context.Context, skip func(body []byte) bool, visit func(opennebula.Document, flow.Body) error) error {
	for offset := 0; ; offset += servicesPage {
		documents, err := w.oned.Server().Documents(ctx, flow.DocumentTypeService, allUsers, offset, -servicesPage)
		if err != nil {
			return fmt.Errorf("list the services: %w", err)
		}
		for _, document := range documents {
			if skip != nil && skip(document.Body) {
				continue
			}
			body, _, err := flow.ReadService(document.Body)
			if err != nil {
				w.config.Logger.Warn("a service's document cannot be read and is left alone", "service", document.ID, "error", err)
				continue
			}
			if err := visit(document, body); err != nil {
				return err
			}
		}
		if len(documents) == 0 {
			return nil
		}
	}
}
