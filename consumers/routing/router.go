package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowjet/flowjet/internal/batch"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/work"
	"github.com/prometheus/client_golang/prometheus"
)

// routerBatch bounds how many events are forwarded at a time.
const routerBatch = 1000

// Router forwards each event to the service that it concerns. Two routers at once do no harm: their messages have the same ids, and a
// repeated or late one only makes a service check again.
type Router struct {
	Services *Services
	Pipe     Clients
	// ScanInterval is how often all service documents are scanned for services that nothing wakes.
	ScanInterval time.Duration
	// LeaderChange is how long after a change of the leader a VM that does not move counts as left behind.
	LeaderChange time.Duration
	// ConfirmDamage is how long a stream must end before the last message read from it to count as damaged.
	ConfirmDamage time.Duration
	// Routed counts the events that were sent to a service.
	Routed prometheus.Counter
	// Written is when the last record was stored before the worker started.
	Written time.Time

	owners *owners
	// order is the order of the wake-ups of all runs: a run begins at a cursor that may lie before the last run's wake-ups.
	order *work.WakeOrder
	// reportedAge is whether services that have changed since Written were reported.
	reportedAge atomic.Bool
}

// Clients are the JetStream clients of a router.
type Clients struct {
	*pipeline.Pipeline // cursors
	*work.Queue
	*work.Records
	*work.Objects
	*command.Commands
}

// Run reads the events from the saved cursor on. The router starts anew if another worker may have routed since its last run.
func (r *Router) Run(ctx context.Context, anew bool) error {
	if anew {
		r.order = nil
	}
	if r.order == nil {
		order, err := r.Pipe.NewWakeOrder(ctx)
		if err != nil {
			return err
		}
		r.order = order
	}
	r.owners = &owners{objects: r.Pipe.Objects, logger: r.Services.Logger, known: map[int]int{}, notes: make(chan ownerNote, maxNotes)}
	after, err := r.startOfEvents(ctx)
	if err != nil {
		return err
	}
	reader, err := r.Pipe.ReadEvents(ctx, after)
	if err != nil {
		return err
	}
	defer reader.Stop()
	var parts sync.WaitGroup
	defer parts.Wait() // the next Run reuses their data
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, part := range []func(context.Context){r.watchServices, r.watchLeader, r.owners.run} {
		parts.Go(func() { part(life) })
	}
	return r.run(life, reader, after)
}

// heard is an event with its sequence in the stream, and when that stored it.
type heard struct {
	sequence uint64
	stored   time.Time
	event    pipeline.Event
	// unreadable reports whether there is no event, and a dead letter in its stead.
	unreadable bool
}

// run forwards the events that have come, as many at a time as there are.
func (r *Router) run(ctx context.Context, reader *work.EventReader, saved uint64) error {
	failed := make(chan error, 2)
	incoming := batch.Ahead(ctx, routerBatch, failed, func(ctx context.Context) (one heard, err error) {
		one.sequence, one.event, err = reader.Next(ctx)
		if one.unreadable = errors.Is(err, pipeline.ErrUnreadable); one.unreadable {
			err = nil
		}
		one.stored = reader.Mark().Stored
		return one, err
	})
	position := pipeline.EventMark{Sequence: saved}
	var routed atomic.Uint64
	routed.Store(saved)
	go func() {
		if err := r.watchDamage(ctx, routed.Load); ctx.Err() == nil {
			failed <- err
		}
	}()
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
		defer cancel()
		_ = r.savePosition(last, position)
	}()
	for tick := time.Tick(pipeline.SaveCursorEvery); ; {
		select {
		case first := <-incoming:
			events := batch.Available(first, incoming, routerBatch)
			last := events[len(events)-1]
			if err := r.passAll(ctx, slices.DeleteFunc(events, func(one heard) bool { return one.unreadable })); err != nil {
				return err
			}
			position = pipeline.EventMark{Sequence: last.sequence, Stored: last.stored}
			routed.Store(last.sequence)
		case <-tick:
			if position.Sequence == saved {
				continue
			}
			if err := r.savePosition(ctx, position); err != nil {
				return err
			}
			saved = position.Sequence
		case err := <-failed:
			if errors.Is(err, pipeline.ErrRewritten) {
				position = reader.Mark() // the next run finds another event there, and has every service check oned
			}
			return fmt.Errorf("read the events after %d: %w", position.Sequence, err)
		}
	}
}

// savePosition saves by what the last routed event is recognised, and then the cursor: a mark that is behind the cursor could not show that
// the events between them were replaced. They are two values because older workers read the cursor alone.
func (r *Router) savePosition(ctx context.Context, position pipeline.EventMark) error {
	if !position.Stored.IsZero() {
		position.Version = pipeline.Version
		if err := pipeline.EventNote.Save(ctx, r.Pipe.Pipeline, position); err != nil {
			return err
		}
	}
	return r.Pipe.SaveCursor(ctx, pipeline.RouterKey, position.Sequence)
}

// passAll forwards a batch: only the last state change of each VM.
func (r *Router) passAll(ctx context.Context, batch []heard) error {
	if len(batch) == 0 {
		return nil
	}
	r.owners.note(batch)
	wakes, routed, err := r.wakesOf(ctx, newestOfEach(batch))
	if err != nil {
		return err
	}
	if err := r.Pipe.PublishWakes(ctx, wakes, r.order); err != nil {
		return fmt.Errorf("route the events %d to %d: %w", batch[0].sequence, batch[len(batch)-1].sequence, err)
	}
	r.Routed.Add(float64(routed))
	r.owners.forget(batch)
	return nil
}

// wakesOf returns the wake-ups for events, and how many events they stand for. Trouble of several VMs of a service makes one wake-up for
// all of them: it is not believed without asking oned anyway.
func (r *Router) wakesOf(ctx context.Context, events []heard) (wakes []pipeline.Wake, routed int, err error) {
	services, troubled := make([]int, len(events)), map[int][]heard{} // of each event; the events that report trouble, by service
	for i, one := range events {
		if services[i], err = r.serviceOf(ctx, one.event); err != nil {
			return nil, 0, err
		}
		if isTrouble(one.event) {
			troubled[services[i]] = append(troubled[services[i]], one)
		}
	}
	for i, one := range events {
		service := services[i]
		if service < 0 {
			continue
		}
		routed++
		wake := pipeline.Wake{Work: pipeline.Work{Service: service, Event: &one.event}, MessageID: messageID(one, one.sequence), Trace: one.event.Trace}
		if others := troubled[service]; isTrouble(one.event) && len(others) > 1 {
			if others[0].sequence != one.sequence {
				continue
			}
			// Two routers may split the events differently: one check more does no harm.
			wake.Work = pipeline.Work{Service: service, Reason: fmt.Sprintf("%s and %d more", one.event.Title(), len(others)-1)}
			for _, other := range others {
				wake.Work.Trouble = append(wake.Work.Trouble, pipeline.TroubleOf(*other.event.VM))
			}
			wake.MessageID = messageID(one, others[len(others)-1].sequence)
		}
		wakes = append(wakes, wake)
	}
	return wakes, routed, nil
}

// newestOfEach returns the events except those that a later one of the same VM follows. An event of a passing state wakes no service, and
// replaces no other: the VM may stay there.
func newestOfEach(batch []heard) []heard {
	last := map[int]uint64{}
	for _, one := range batch {
		if one.event.VM != nil && one.event.VM.Decisive() {
			last[one.event.ID] = one.sequence
		}
	}
	newest := make([]heard, 0, len(batch))
	for _, one := range batch {
		if one.event.VM == nil || last[one.event.ID] == one.sequence {
			newest = append(newest, one)
		}
	}
	return newest
}

func isTrouble(event pipeline.Event) bool { return event.VM != nil && event.VM.Troubled() }

// messageID is the same for all routers that forward these events. Sequences are reused where a stream was damaged.
func messageID(first heard, last uint64) string {
	return fmt.Sprintf("one-%d-%d-%d", first.sequence, last, first.event.Heard.UnixMicro())
}

// serviceOf returns the service that an event concerns, -1 for none. A VM's event names it, unless its user template was replaced: its end
// and its trouble still count. READY is written by a call that only names the VM. A passing state concerns no service.
func (r *Router) serviceOf(ctx context.Context, event pipeline.Event) (int, error) {
	switch {
	case event.VM != nil && event.VM.Decisive():
		if event.VM.Service >= 0 {
			return event.VM.Service, nil
		}
		if service, known := r.owners.known[event.ID]; known {
			return service, nil
		}
		if !event.VM.Troubled() && !event.VM.Gone() {
			return -1, nil
		}
		service, err := r.ownerOf(ctx, work.OwnedVM, event.ID)
		if service >= 0 {
			r.owners.remember(event.ID, service)
		}
		return service, err
	case event.Object == work.OwnedNetwork:
		return r.ownerOf(ctx, work.OwnedNetwork, event.ID)
	case event.Ready == nil || !event.OK:
		return -1, nil
	}
	if service, known := r.owners.known[event.ID]; known {
		return service, nil
	}
	if service, err := r.ownerOf(ctx, work.OwnedVM, event.ID); err != nil || service >= 0 {
		return service, err
	}
	return r.fetchServiceOf(ctx, event.ID)
}

// ownerOf returns the service that FLOW_OWNERS has for a VM or network, -1 for none.
func (r *Router) ownerOf(ctx context.Context, kind string, id int) (int, error) {
	service, known, err := r.Pipe.Owner(ctx, kind, id)
	if err != nil || !known {
		return -1, err
	}
	return service, nil
}

// fetchServiceOf asks oned for the service of a VM that is new here, and notes it. If oned never answers, nothing waits for it: the service
// checks by itself.
func (r *Router) fetchServiceOf(ctx context.Context, id int) (int, error) {
	vm, err := r.Services.Oned.Server().VM(ctx, id)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return -1, nil
	case err != nil && (ctx.Err() != nil || opennebula.Temporary(err)):
		return -1, fmt.Errorf("find the service of VM %d: %w", id, err)
	case err != nil:
		r.Services.Logger.Warn("cannot read the service of a VM from oned; the service is checked again later", "vm", id, "error", err)
		return -1, nil
	}
	if !vm.Gone() && vm.Service >= 0 { // -1 is no service's
		r.owners.remember(vm.ID, vm.Service)
		r.owners.later(ownerNote{vm: vm.ID, service: vm.Service})
	}
	return vm.Service, nil
}
