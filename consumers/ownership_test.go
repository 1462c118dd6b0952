package consumers_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
)

// observed is a worker that says which turns it gives to which service, and can be
// held in the middle of one.
type observed struct {
	*consumers.Worker
	wakes *wakes
	// lost is how often it owned nothing any more: on a machine too busy for its heartbeats.
	lost atomic.Int32

	mutex sync.Mutex
	turns map[int]int // by service
	begun int         // turns for commands
	hold  map[int]chan struct{}
	held  map[int]bool
}

func (w *world) observe(id string, wakes *wakes) *observed {
	w.t.Helper()
	o := &observed{wakes: wakes, turns: map[int]int{}, hold: map[int]chan struct{}{}, held: map[int]bool{}}
	pipe, err := pipeline.Open(w.t.Context(), pipeline.Config{
		URL: w.nats.URL(), Name: id, Logger: slog.New(slog.NewTextHandler(o, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	must(w.t, err)
	w.t.Cleanup(pipe.Close)
	o.Worker = consumers.New(consumers.Config{
		ID: id, Settings: quick(), Handling: o.handling, Logger: slog.New(slog.DiscardHandler),
	}, pipe, w.oned)
	must(w.t, o.Start(w.t.Context()))
	w.t.Cleanup(func() { o.release(); must(w.t, o.Stop(context.Background())) })
	return o
}

// Write is told what the worker's pipeline logs, line by line.
func (o *observed) Write(line []byte) (int, error) {
	if text := string(line); strings.Contains(text, "partitions of this worker have changed") && strings.Contains(text, "keys=0") {
		o.lost.Add(1)
	}
	return len(line), nil
}

func (o *observed) handling(work pipeline.Work) {
	o.wakes.see(work)
	o.mutex.Lock()
	o.turns[work.Service]++
	if work.Command != nil {
		o.begun++
	}
	hold := o.hold[work.Service]
	o.held[work.Service] = hold != nil
	o.mutex.Unlock()
	if hold != nil {
		<-hold
	}
}

// holdTurn waits until the worker is in the middle of a turn of the service. It
// stays there until release.
func (o *observed) holdTurn(t *testing.T, service int) {
	t.Helper()
	o.mutex.Lock()
	o.hold[service] = make(chan struct{})
	o.mutex.Unlock()
	poll.Until(t, fmt.Sprintf("a turn of service %d", service), func() bool {
		o.mutex.Lock()
		defer o.mutex.Unlock()
		return o.held[service]
	})
}

// passOn lets the turns of a service that is held end, up to that of a command.
func (o *observed) passOn(t *testing.T, service int) {
	t.Helper()
	poll.Until(t, fmt.Sprintf("the turn of a command to service %d", service), func() bool {
		o.mutex.Lock()
		defer o.mutex.Unlock()
		if o.begun > 0 {
			return true
		}
		select {
		case o.hold[service] <- struct{}{}:
		default:
		}
		return false
	})
}

// release lets go on what is held.
func (o *observed) release() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for service, hold := range o.hold {
		close(hold)
		delete(o.hold, service)
	}
}

// count is how many turns the service has had here.
func (o *observed) count(service int) int {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.turns[service]
}

// commands is how many turns were begun here for commands.
func (o *observed) commands() int {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.begun
}

// awaitTurns waits until each of the services has had a few turns more here.
func (o *observed) awaitTurns(t *testing.T, when string, services ...int) {
	t.Helper()
	const more = 3
	before := map[int]int{}
	for _, service := range services {
		before[service] = o.count(service)
	}
	poll.Until(t, fmt.Sprintf("turns of the services %v %s", services, when), func() bool {
		return !slices.ContainsFunc(services, func(service int) bool { return o.count(service) < before[service]+more })
	})
}

// onePerPartition creates services until each partition has one.
func (w *world) onePerPartition() []int {
	w.t.Helper()
	found := map[int]int{}
	for len(found) < pipeline.Partitions {
		service := w.service(`{"name":"svc","state":2,"roles":[{"name":"a","type":"vm","cardinality":0,"template_id":0,"state":2}]}`)
		found[pipeline.Partition(service)] = service
	}
	return slices.Sorted(maps.Values(found))
}

// wakes are how often each service was woken, and how many of these wake-ups, or of the
// later ones, have come to a worker.
type wakes struct {
	mutex      sync.Mutex
	sent, seen map[int]int
}

func (s *wakes) see(work pipeline.Work) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var service, number int
	if _, err := fmt.Sscanf(work.Reason, "%d-%d", &service, &number); err != nil {
		service, number = work.Service, s.sent[work.Service] // a scan's wake-up stands for those that waited
	}
	s.seen[service] = max(s.seen[service], number)
}

// next are wake-ups of those services that are not far behind: a slow machine has no more to
// do than it can.
func (s *wakes) next(services []int) []pipeline.Wake {
	const ahead = 8
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var next []pipeline.Wake
	for _, service := range services {
		if s.sent[service]-s.seen[service] < ahead {
			s.sent[service]++
			id := fmt.Sprintf("%d-%d", service, s.sent[service])
			next = append(next, pipeline.Wake{Work: pipeline.Work{Service: service, Reason: id}, MessageID: id})
		}
	}
	return next
}

// wakeAgainAndAgain wakes the services until the test ends, each time for a
// reason of its own.
func (w *world) wakeAgainAndAgain(services []int) *wakes {
	all := &wakes{sent: map[int]int{}, seen: map[int]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		var next []pipeline.Wake
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if len(next) == 0 {
				next = all.next(services)
			}
			if w.pipe.PublishWakes(ctx, next, nil) == nil {
				next = nil // otherwise the same again, until they are stored
			}
		}
	}()
	return all
}

// Of the services only those move whose worker comes or goes. While they do, and
// although a turn of one of them does not end, all others get their turns.
func TestOwnershipMovesWithoutStoppingWhoStays(t *testing.T) {
	w := newWorld(t)
	services := w.onePerPartition()
	wakes := w.wakeAgainAndAgain(services)
	a, b := w.observe("a", wakes), w.observe("b", wakes)
	var stay, move []int
	poll.Until(t, "both workers to own half of the services each", func() bool {
		stay, move = nil, nil
		for _, service := range services {
			key := pipeline.PartitionKey(pipeline.Partition(service))
			if a.Owns(key) && !b.Owns(key) {
				stay = append(stay, service)
			} else if b.Owns(key) && !a.Owns(key) {
				move = append(move, service)
			}
		}
		return len(stay) == len(services)/2 && len(move) == len(services)/2
	})
	a.awaitTurns(t, "at the worker that stays", stay...)
	b.awaitTurns(t, "at the worker that goes", move...)

	// A command is in the middle of its turn all the while: were the service stopped,
	// it would be handled a second time.
	a.holdTurn(t, stay[0])
	answered := make(chan error, 1)
	go func() {
		_, err := w.pipe.SubmitCommand(t.Context(), flow.Command{ID: nuid.Next(), Verb: flow.VerbRecover, Service: stay[0]}, poll.Limit)
		answered <- err
	}()
	a.passOn(t, stay[0])
	b.holdTurn(t, move[0])
	left := make(chan error, 1)
	go func() { left <- b.Stop(context.Background()) }()
	a.awaitTurns(t, "while a worker leaves", slices.Concat(stay[1:], move)...)
	b.release()
	must(t, <-left)

	a.holdTurn(t, move[1])
	c := w.observe("b", wakes)
	c.awaitTurns(t, "at the worker that has joined", move...)
	a.awaitTurns(t, "while a worker joins", stay[1:]...)

	// The worker that stays has not let go of its last one, and takes the others back.
	must(t, c.Stop(t.Context()))
	a.awaitTurns(t, "after the worker has left again", slices.Concat(stay[1:], move[2:])...)
	a.release()
	a.awaitTurns(t, "in the end", services...)
	must(t, <-answered)
	if begun := a.commands(); begun < 1 || begun > 1+int(a.lost.Load()) {
		t.Errorf("service %d stayed, and the command in whose turn that was is handled %d times", stay[0], begun)
	}
}

// TestAVMOfAFormerOwner: a change of owner was cut off, and nobody has repeated it. The log says how to.
func TestAVMOfAFormerOwner(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	vm := w.ids(service)[0]
	stop()
	must(t, w.oned.Server().ChownVM(t.Context(), vm, 0, -1))
	log := &testlog.Log{}
	worker := consumers.New(consumers.Config{ID: "two", Settings: quick(), Logger: log.Logger()}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	log.Await(t, fmt.Sprintf("flowjet service chown %[1]d oneadmin, then flowjet service chown %[1]d alice", service))
}
