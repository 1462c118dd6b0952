package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// routerBatch bounds how many events are passed on at a time.
const routerBatch = 1000

// router gives each event to the service that it concerns. Two routers at once
// do no harm: their messages have the same ids, and what comes twice or late
// only makes a service look again.
type router struct {
	worker *Worker
	owners *owners
}

func newRouter(w *Worker) *router {
	return &router{worker: w, owners: newOwners(w.pipe, w.config.Logger)}
}

// route reads the events from the saved cursor on until ctx ends.
func (r *router) route(ctx context.Context) error {
	after, err := r.startOfEvents(ctx)
	if err != nil {
		return err
	}
	reader, err := r.worker.pipe.ReadEvents(ctx, after)
	if err != nil {
		return fmt.Errorf("read the events after %d: %w", after, err)
	}
	defer reader.Stop()
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	config := r.worker.config
	go (&scanner{r.worker.services, r.worker.pipe.Records, config.ScanInterval}).run(life)
	go (&leftBehind{r.worker.pipe, r.worker.oned, config.Settings.VMDeadlines.LeaderChange, config.Logger}).run(life)
	go r.rebuildOwners(life)
	go r.owners.run(life)
	return r.run(life, reader, after)
}

// heard is an event with its sequence in the stream.
type heard struct {
	sequence uint64
	event    pipeline.Event
	// unreadable reports whether there is no event, and a dead letter in its stead.
	unreadable bool
}

// run passes on what has come, as much at a time as there is: while the router
// was busy with one burst, the next has been waiting.
func (r *router) run(ctx context.Context, reader *work.EventReader, saved uint64) error {
	incoming := make(chan heard, routerBatch)
	failed := make(chan error, 2)
	go func() { failed <- read(ctx, reader, incoming) }()
	position := saved
	var routed atomic.Uint64
	routed.Store(position)
	go func() {
		if err := r.watchDamage(ctx, routed.Load); ctx.Err() == nil {
			failed <- err
		}
	}()
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
		defer cancel()
		_ = r.worker.pipe.SaveCursor(last, pipeline.RouterKey, position)
	}()
	ticker := time.NewTicker(saveCursorEvery)
	defer ticker.Stop()
	for {
		select {
		case first := <-incoming:
			batch := waiting(first, incoming)
			last := batch[len(batch)-1].sequence
			if err := r.passAll(ctx, slices.DeleteFunc(batch, func(one heard) bool { return one.unreadable })); err != nil {
				return err
			}
			position = last
			routed.Store(position)
		case <-ticker.C:
			if position == saved {
				continue
			}
			if err := r.worker.pipe.SaveCursor(ctx, pipeline.RouterKey, position); err != nil {
				return fmt.Errorf("save the router's cursor at %d: %w", position, err)
			}
			saved = position
		case err := <-failed:
			return fmt.Errorf("read the events after %d: %w", position, err)
		}
	}
}

func read(ctx context.Context, reader *work.EventReader, into chan<- heard) error {
	for {
		sequence, event, err := reader.Next(ctx)
		unreadable := errors.Is(err, pipeline.ErrUnreadable)
		if err != nil && !unreadable {
			return err
		}
		select {
		case into <- heard{sequence, event, unreadable}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiting is the first event and what can be had without waiting.
func waiting(first heard, incoming <-chan heard) []heard {
	batch := []heard{first}
	for len(batch) < routerBatch {
		select {
		case next := <-incoming:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// passAll passes a batch on. Of the state changes of one VM in it only the last
// is: a service is woken to look at how things are, not at how they were. Where it
// tells trouble of several VMs of a service, one wake-up has it look at all of them:
// that is not believed without asking oned anyway.
func (r *router) passAll(ctx context.Context, batch []heard) error {
	if len(batch) == 0 {
		return nil
	}
	wakes, routed, err := r.wakesOf(ctx, newestOfEach(batch))
	if err != nil {
		return err
	}
	if err := r.worker.pipe.PublishWakes(ctx, wakes); err != nil {
		return fmt.Errorf("route the events %d to %d: %w", batch[0].sequence, batch[len(batch)-1].sequence, err)
	}
	r.worker.metrics.routed.Add(float64(routed))
	r.owners.note(batch)
	return nil
}

// wakesOf are the wake-ups for events, and how many of these they stand for.
func (r *router) wakesOf(ctx context.Context, events []heard) (wakes []pipeline.Wake, routed int, err error) {
	troubled := troubledOf(events)
	for _, one := range events {
		service, err := r.serviceOf(ctx, one.event)
		if err != nil {
			return nil, 0, err
		}
		if service < 0 {
			continue
		}
		routed++
		switch others := troubled[service]; {
		case !isTrouble(one.event) || len(others) == 1:
			wakes = append(wakes, wakeOf(service, one))
		case others[0].sequence == one.sequence:
			wakes = append(wakes, lookOf(service, others))
		}
	}
	return wakes, routed, nil
}

// newestOfEach are the events without those that a later one of the same VM follows.
func newestOfEach(batch []heard) []heard {
	last := map[int]uint64{}
	for _, one := range batch {
		if one.event.VM != nil {
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

// troubledOf are the events that tell trouble, by service.
func troubledOf(events []heard) map[int][]heard {
	troubled := map[int][]heard{}
	for _, one := range events {
		if isTrouble(one.event) {
			troubled[one.event.VM.Service] = append(troubled[one.event.VM.Service], one)
		}
	}
	return troubled
}

// wakeOf is an event as work of a service.
func wakeOf(service int, one heard) pipeline.Wake {
	return pipeline.Wake{
		Work:      pipeline.Work{Service: service, Event: &one.event},
		MessageID: "one-" + strconv.FormatUint(one.sequence, 10),
		Trace:     one.event.Trace,
	}
}

// lookOf has a service look at all VMs of which events told trouble. Two routers may
// cut the events differently: to look once more does no harm.
func lookOf(service int, troubled []heard) pipeline.Wake {
	trouble := make([]pipeline.Trouble, len(troubled))
	for i, one := range troubled {
		trouble[i] = stateOf(*one.event.VM)
	}
	first, last := troubled[0], troubled[len(troubled)-1]
	return pipeline.Wake{
		Work: pipeline.Work{
			Service: service, Trouble: trouble,
			Reason: fmt.Sprintf("%s and %d more", first.event.Title(), len(troubled)-1),
		},
		MessageID: fmt.Sprintf("one-%d-%d", first.sequence, last.sequence),
		Trace:     first.event.Trace,
	}
}

// serviceOf is the service that an event concerns, -1 for none. A VM's event
// says it itself; READY is written by a call that names the VM only. A state
// that a VM only passes through concerns nobody.
func (r *router) serviceOf(ctx context.Context, event pipeline.Event) (int, error) {
	switch {
	case event.VM != nil && event.VM.Decisive():
		return event.VM.Service, nil
	case event.Object == ownedNetwork:
		return r.owners.ofNetwork(ctx, event.ID)
	case event.Ready == nil || !event.OK:
		return -1, nil
	}
	service, known, err := r.owners.of(ctx, event.ID)
	if err != nil || known {
		return service, err
	}
	return r.askWhose(ctx, event.ID)
}

// askWhose asks oned for the service of a VM that was heard of for the first
// time, and notes it. What oned does not tell now and will not tell later
// holds nobody up: the service looks again by itself.
func (r *router) askWhose(ctx context.Context, id int) (int, error) {
	vm, err := r.worker.oned.Server().VM(ctx, id)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return -1, nil
	case err != nil && (ctx.Err() != nil || opennebula.Temporary(err)):
		return -1, fmt.Errorf("find the service of VM %d: %w", id, err)
	case err != nil:
		r.worker.config.Logger.Warn("oned does not tell whose VM this is; its service looks again by itself", "vm", id, "error", err)
		return -1, nil
	}
	if !vm.Gone() {
		r.owners.noteOwner(vm.ID, vm.Service)
	}
	return vm.Service, nil
}
