package routing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// scanShare bounds the time for scanning: after a scan there is a pause so many times as long, within longestPause intervals: a scan
	// that hung is no measure of its cost.
	scanShare    = 100
	longestPause = 4
	// scanAgain is the longest pause after a failed scan.
	scanAgain = 10 * time.Second
	// lateTimer is how late a lost timer is. JetStream fires one within 0.3 s, or once its stream has a leader again.
	lateTimer = 10 * time.Second
)

// watchServices wakes the services that wait, or are overdue, although nothing is set to wake them, and those without a record: because of a
// lost stream, or an API that died between creating a document and queueing its command. A change of the zone's leader causes a scan at
// once: no event reports what was left behind. The first successful scan also finds the service of each VM, and another one does if that was lost.
func (r *Router) watchServices(ctx context.Context) {
	var next time.Time
	scanned, failed := 0, false // the leader's term at the last scan
	changed := false            // since the last successful scan
	var owners pipeline.Extent  // of the bucket with the service of each VM, as of the last successful scan
	for ; ctx.Err() == nil; _ = idle.For(ctx, min(time.Second, time.Until(next))) {
		term, _ := r.Services.Oned.Leadership()
		other := term != scanned && scanned != 0
		if time.Now().Before(next) && !other {
			continue
		}
		changed = changed || other
		began := time.Now()
		extent, unknown := r.Pipe.Extent(ctx, pipeline.StreamOf(pipeline.BucketOwners))
		err := r.scan(ctx, !changed && scanned != 0, unknown == nil && (extent.Lacks(owners) || extent.Purged(owners)))
		if err == nil && unknown == nil {
			owners = extent
		}
		if err != nil && !failed && ctx.Err() == nil {
			r.Services.Logger.Warn("the services could not be checked, retrying", "error", err)
		}
		pause := scanPause(r.ScanInterval, time.Since(began))
		if failed = err != nil; failed {
			pause = min(pause, scanAgain)
		}
		changed = changed && failed
		next, scanned = time.Now().Add(pause), term
	}
}

// scanPause returns the pause after a scan of that length.
func scanPause(interval, took time.Duration) time.Duration {
	return min(max(interval, scanShare*took), longestPause*interval)
}

// scan makes one scan. A regular one asks no service to fetch data that it has just fetched. A scan of all services also completes
// FLOW_OWNERS, before it wakes any: a service that goes on no longer shows that its data was older.
func (r *Router) scan(ctx context.Context, regular, all bool) (err error) {
	var found *claims
	if all {
		noted, err := r.Pipe.Owners(ctx)
		if err != nil {
			return err
		}
		ids := map[string]map[int]int{work.OwnedVM: {}, work.OwnedNetwork: {}}
		found = &claims{ids, noted, olderData{written: r.Written, logged: map[int]time.Time{}}}
	}
	recorded, reasons := map[int]bool{}, map[int]string{} // why a service with a record is to be woken, empty for no reason
	unreadable, recordsErr := r.Pipe.CheckRecords(ctx, func(service int, record pipeline.Record) {
		recorded[service] = true
		late := func(timer pipeline.TimerState) bool { return time.Since(timer.Due) > lateTimer }
		switch {
		case record.Deleted:
		case slices.ContainsFunc(slices.Collect(maps.Values(record.Timers)), late): // JetStream may have lost a timer, or may never send it
			reasons[service] = "its timer is overdue"
		default:
			reasons[service] = ""
		}
	})
	for _, service := range unreadable {
		recorded[service] = true
	}
	listed := map[int]bool{}
	skip := func(document opennebula.Document) bool {
		listed[document.ID] = true
		return !all && spec.Unasked(document.Body) && (recorded[document.ID] || recordsErr != nil)
	}
	var wakes []pipeline.Work
	err = r.Services.Each(ctx, skip, func(document opennebula.Document, body spec.Body) error {
		if all {
			found.add(document.ID, body)
		}
		state := spec.Service{Body: body}.State()
		switch {
		case recordsErr == nil && !recorded[document.ID]:
			wakes = append(wakes, pipeline.Work{Service: document.ID, Reason: "it has no record", Scan: true})
		case state.Watched() || policy.Overdue(spec.Service{ID: document.ID, Body: body}, time.Now()):
			wakes = append(wakes, pipeline.Work{Service: document.ID, Reason: "found in " + state.String(), Scan: regular})
		}
		return nil
	})
	if all && err == nil {
		if err = r.rebuildOwners(ctx, found); err != nil {
			err = fmt.Errorf("complete bucket FLOW_OWNERS: %w", err)
		}
	}
	for service, reason := range reasons {
		if err == nil && !listed[service] { // no event reports that the document of a service without VMs was deleted, as by OneFlow while Flowjet was stopped
			reason = "its document is not listed"
		}
		if reason != "" {
			wakes = append(wakes, pipeline.Work{Service: service, Reason: reason})
		}
	}
	err = errors.Join(err, recordsErr)
	for _, wake := range wakes {
		if wakeErr := r.Services.wake(ctx, wake); wakeErr != nil {
			return errors.Join(err, wakeErr)
		}
	}
	return err
}

// lostWithLeader is how long after a change of the leader an event that was found by comparing counts as lost with the old leader.
const lostWithLeader = time.Minute

// watchLeader wakes, some time after a change of the zone's leader, the services of the VMs that the old one left in mid-change. Waiting
// services check by themselves; running ones would not.
func (r *Router) watchLeader(ctx context.Context) {
	searched, logged := 0, 0
	for idle.For(ctx, time.Second) == nil {
		term, since := r.Services.Oned.Leadership()
		if term == searched || since.IsZero() || time.Since(since) < r.LeaderChange {
			continue
		}
		err := r.wakeLeftBehind(ctx, term, since)
		switch {
		case err == nil:
			searched = term
		case ctx.Err() == nil && logged != term:
			r.Services.Logger.Warn("cannot look for VMs that stopped at a change of leader, retrying", "error", err)
			logged = term
		}
	}
}

func (r *Router) wakeLeftBehind(ctx context.Context, term int, since time.Time) error {
	left, err := r.Pipe.VMsThat(ctx, func(vm one.VM) bool { return vm.Changing() || vm.IsNew() })
	if err != nil {
		return err
	}
	maps.DeleteFunc(left, func(_ int, event pipeline.Event) bool { // of a new VM the old leader may have told that it runs, and not stored it
		return event.VM.IsNew() && !event.Resync || EnteredAt(event, since, time.Time{}).After(since)
	})
	var wakes []pipeline.Wake
	woken := map[int]bool{}
	for id, event := range left {
		service := event.VM.Service
		if service < 0 { // no service's, or its user template was replaced
			if service, err = r.ownerOf(ctx, work.OwnedVM, id); err != nil {
				return err
			}
		}
		if service < 0 || woken[service] {
			continue
		}
		woken[service] = true
		wakes = append(wakes, pipeline.Wake{
			Work:      pipeline.Work{Service: service, Reason: fmt.Sprintf("%s since before the last change of leader", event.Title())},
			MessageID: fmt.Sprintf("left-%d-%d", term, id),
		})
	}
	return r.Pipe.PublishWakes(ctx, wakes, nil)
}

// EnteredAt returns when a VM entered an event's state: before the leader changed, if the event was found by comparing right after. A state
// that was found that way later was there before; the service may have seen it then.
func EnteredAt(event pipeline.Event, leader, seen time.Time) time.Time {
	switch {
	case !event.Resync:
		return event.Heard
	case event.Heard.After(leader) && event.Heard.Before(leader.Add(lostWithLeader)):
		return leader.Add(-time.Second)
	case !seen.IsZero() && seen.Before(event.Heard):
		return seen
	}
	return event.Heard
}

// Services are all services that have documents at oned.
type Services struct {
	Oned   *opennebula.Client
	Queue  *work.Queue
	Logger *slog.Logger
}

// servicesPage is how many services are listed by one call: oned builds an answer as a whole, and a service with ten VMs has 4 KB.
const servicesPage = 500

// Each visits all services, a page at a time and the newest first. A service that is made or deleted meanwhile may be visited twice or left
// out. Unreadable ones, and those that skip recognises by their text, are left out.
func (s *Services) Each(ctx context.Context, skip func(opennebula.Document) bool, visit func(opennebula.Document, spec.Body) error) error {
	return s.Oned.Server().DocumentPages(ctx, spec.DocumentTypeService, opennebula.FilterAll, servicesPage, func(documents []opennebula.Document) error {
		for _, document := range documents {
			if skip != nil && skip(document) {
				continue
			}
			body, _, err := spec.ReadService(document.Body)
			if err != nil {
				s.Logger.Warn("a service's document cannot be read and is left unchanged", "service", document.ID, "error", err)
				continue
			}
			if err := visit(document, body); err != nil {
				return err
			}
		}
		return nil
	})
}

// WakeAll makes every service check oned. If NATS has lost messages, waiting are the commands, by service, that waited then; else it is nil.
func (s *Services) WakeAll(ctx context.Context, reason string, waiting map[int][]string) error {
	wake := func(service int) error {
		return s.wake(ctx, pipeline.Work{Service: service, Reason: reason, Lost: waiting != nil, Waiting: waiting[service]})
	}
	err := s.Each(ctx, nil, func(document opennebula.Document, _ spec.Body) error {
		defer delete(waiting, document.ID)
		return wake(document.ID)
	})
	for service := range waiting { // without a document, or with an unreadable one
		if err == nil {
			err = wake(service)
		}
	}
	if err != nil {
		return fmt.Errorf("wake all services: %w", err)
	}
	return nil
}

// wake makes a service check oned.
func (s *Services) wake(ctx context.Context, woken pipeline.Work) error {
	_, err := s.Queue.PublishWork(ctx, woken, fmt.Sprintf("wake-%d-%d", woken.Service, time.Now().UnixNano()))
	return err
}
