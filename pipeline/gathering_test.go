package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
)

// gathered has all callers wait before anything is stored, and returns what each
// was told.
func gathered(t testing.TB, g *gathering, callers ...func() error) []error {
	t.Helper()
	poll.Until(t, "what was gathered before to be over", func() bool {
		g.mutex.Lock()
		defer g.mutex.Unlock()
		idle := !g.running
		g.running = true
		return idle
	})
	said := make([]error, len(callers))
	var wait sync.WaitGroup
	for i, call := range callers {
		wait.Go(func() { said[i] = call() })
		poll.Until(t, "the caller waits", func() bool {
			g.mutex.Lock()
			defer g.mutex.Unlock()
			return len(g.waiting) == i+1
		})
	}
	g.wait.Go(g.run)
	wait.Wait()
	return said
}

func bothKinds(t *testing.T, test func(*testing.T, *Pipeline)) {
	t.Run("one server", func(t *testing.T) { test(t, single(t)) })
	t.Run("three servers", func(t *testing.T) { test(t, open(t, natstest.Cluster(t, 3).URL(), replicas(3))) })
}

func TestWhatManyTellAtATimeIsStoredOnceAndInOrder(t *testing.T) {
	bothKinds(t, func(t *testing.T, p *Pipeline) {
		ctx := limited(t)
		const services, each = 30, 3
		tell := func(service, from int) func() error {
			var transitions []Transition
			for n := from; n <= each; n++ {
				transitions = append(transitions, Transition{Service: service, Change: flow.Change{Kind: "service", New: fmt.Sprint("STATE", n)}})
			}
			return func() error { return p.PublishTransitions(ctx, transitions, uint64(from)) } //nolint:gosec // small
		}
		var first, again []func() error
		for service := range services {
			first, again = append(first, tell(service, 1)), append(again, tell(service, 2))
		}
		for _, round := range [][]func() error{first, again} {
			must(t, errors.Join(gathered(t, p.history, round...)...))
		}
		seen := map[int]int{}
		for sequence := range uint64(services * each) {
			message, err := p.streams[StreamFlow].GetMsg(ctx, sequence+1)
			must(t, err)
			service := serviceOfSubject(t, message.Subject)
			seen[service]++
			if want := ServiceEventSubject(service, fmt.Sprint("STATE", seen[service])); message.Subject != want {
				t.Fatalf("message %d is on %s, want %s", sequence+1, message.Subject, want)
			}
		}
		info, err := p.streams[StreamFlow].Info(ctx)
		must(t, err)
		if info.State.Msgs != services*each {
			t.Errorf("%d messages are stored, want %d", info.State.Msgs, services*each)
		}
		if last, err := p.LastTransition(ctx, 7); last != each || err != nil {
			t.Errorf("the last one of service 7 is number %d (%v), want %d", last, err, each)
		}
	})
}

func serviceOfSubject(t *testing.T, subject string) (service int) {
	t.Helper()
	if _, err := fmt.Sscanf(subject, "flow.event.%d.", &service); err != nil {
		t.Fatalf("subject %s: %v", subject, err)
	}
	return service
}

func TestABadMessageIsNotTheTroubleOfOthers(t *testing.T) {
	p, ctx := single(t), limited(t)
	var callers []func() error
	for service := range 2 * worthBatching {
		reason := "small"
		if service == 3 {
			reason = strings.Repeat("x", int(p.conn.MaxPayload())) // with the rest, more than the server takes
		}
		callers = append(callers, func() error {
			return p.PublishTransitions(ctx, []Transition{{Service: service, Change: flow.Change{Kind: "service", New: "RUNNING", Reason: reason}}}, 1)
		})
	}
	for service, err := range gathered(t, p.history, callers...) {
		if tooLarge := errors.Is(err, nats.ErrMaxPayload); tooLarge != (service == 3) || err != nil && !tooLarge {
			t.Errorf("service %d was told %v", service, err)
		}
		if last, err := p.LastTransition(ctx, service); err != nil || (last == 1) == (service == 3) {
			t.Errorf("the last one of service %d is number %d (%v)", service, last, err)
		}
	}
}

func TestGatheredTimersFireOnceAndAsSetLast(t *testing.T) {
	node := natstest.NewNode(t)
	for name, p := range map[string]*Pipeline{"restarted": open(t, node.URL()), "three servers": open(t, natstest.Cluster(t, 3).URL(), replicas(3))} {
		t.Run(name, func(t *testing.T) {
			ctx := limited(t)
			services := servicesOf(4, 2*worthBatching)
			for generation := uint64(1); generation <= 2; generation++ {
				due := soon(1500 * time.Millisecond)
				var callers []func() error
				for _, service := range services {
					callers = append(callers, func() error {
						return p.SetTimer(ctx, service, Timer{Name: "look", Generation: generation, Due: due})
					})
				}
				must(t, errors.Join(gathered(t, p.timers, callers...)...))
			}
			if name == "restarted" {
				node.Stop()
				node.Start()
			}
			_, err := p.PublishWork(ctx, Work{Service: services[0], Reason: "before all timers"}, "")
			must(t, err)
			reader := readPartition(t, p, 4, 0)
			fired := map[int]bool{}
			for len(fired) < len(services) {
				input, err := reader.Next(ctx)
				must(t, err)
				timer := input.Work.Timer
				if timer == nil {
					continue
				}
				if timer.Generation != 2 || fired[input.Work.Service] {
					t.Fatalf("service %d is woken by %+v, again: %t", input.Work.Service, *timer, fired[input.Work.Service])
				}
				fired[input.Work.Service] = true
			}
		})
	}
}

// servicesOf are so many services of a partition.
func servicesOf(partition, count int) (services []int) {
	for service := 0; len(services) < count; service++ {
		if Partition(service) == partition {
			services = append(services, service)
		}
	}
	return services
}

func TestWhatNobodyWaitsForIsNotStored(t *testing.T) {
	p, ctx := single(t), limited(t)
	tell := func(ctx context.Context, service int) error {
		return p.PublishTransitions(ctx, []Transition{{Service: service, Change: flow.Change{Kind: "service", New: "RUNNING"}}}, 1)
	}
	gone, leave := context.WithCancel(ctx)
	said := gathered(t, p.history,
		func() error { return tell(gone, 1) },
		func() error { leave(); return tell(ctx, 2) },
	)
	if !errors.Is(said[0], context.Canceled) || said[1] != nil {
		t.Errorf("they were told %v", said)
	}
	for service, want := range map[int]uint64{1: 0, 2: 1} {
		if last, err := p.LastTransition(ctx, service); last != want || err != nil {
			t.Errorf("the last one of service %d is number %d (%v), want %d", service, last, err, want)
		}
	}
}

func TestWhatHasWaitedTooLongIsGivenBack(t *testing.T) {
	p, ctx := single(t), limited(t)
	old := &parcel{messages: []*nats.Msg{nats.NewMsg(ServiceEventSubject(1, "RUNNING"))}, since: time.Now().Add(-2 * staleAfter), stored: make(chan outcome, 1)}
	p.history.add(old)
	if told := <-old.stored; !errors.Is(told.err, errStale) {
		t.Errorf("it was told %v", told.err)
	}
	if last, err := p.lastHeader(ctx, StreamFlow, SubjectsFlow); err == nil {
		t.Errorf("it was stored: %v", last)
	}
}

func TestNothingIsGatheredAfterTheClose(t *testing.T) {
	p := single(t)
	p.Close()
	if err := p.SetTimer(limited(t), 1, Timer{Name: "look", Due: soon(time.Hour)}); !errors.Is(err, ErrClosed) {
		t.Errorf("it was told %v", err)
	}
}

// Of records that are saved at the same time one may be in conflict; the others are
// saved, and each caller is told its own revision.
func TestManyRecordsAreSavedAtATime(t *testing.T) {
	p, ctx := single(t), limited(t)
	const services, conflicting = 3 * worthBatching, 3
	revisions := make([]uint64, services)
	save := func(round uint64) []error {
		var callers []func() error
		for service := range services {
			callers = append(callers, func() error {
				revision := revisions[service]
				if service == conflicting && round == 2 {
					revision += services
				}
				saved, err := p.SaveRecord(ctx, service, recordOf(service, round), revision)
				if err == nil {
					revisions[service] = saved
				}
				return err
			})
		}
		return gathered(t, p.records, callers...)
	}
	for round := range uint64(4) {
		for service, err := range save(round) {
			if conflict := service == conflicting && round == 2; errors.Is(err, ErrConflict) != conflict || err != nil && !conflict {
				t.Errorf("round %d: service %d was told %v", round, service, err)
			}
		}
	}
	for service, want := range revisions {
		record, revision, err := p.LoadRecord(ctx, service)
		if must(t, err); record.Applied != 3 || record.State.Service.ID != service || revision != want {
			t.Errorf("service %d has the record of %d, round %d, with revision %d, want %d", service, record.State.Service.ID, record.Applied, revision, want)
		}
	}
}

// A batch whose answer was lost is sent again: who has saved is told so, once.
func TestRecordsWhoseAnswerWasLostAreFound(t *testing.T) {
	p, ctx := single(t), limited(t)
	writes := make([]recordWrite, worthBatching)
	parcels := make([]*parcel, len(writes))
	again := func() {
		for service := range writes {
			writes[service] = recordWrite{service: service, data: Encode(recordOf(service, 1)), nonce: fmt.Sprint("nonce ", service)}
			parcels[service] = &parcel{messages: []*nats.Msg{recordMessage(writes[service], 0)}, stored: make(chan outcome, 1)}
		}
		p.batchRecords(parcels)
	}
	again()
	sequences := make([]uint64, len(writes))
	for service, one := range parcels {
		told := <-one.stored
		must(t, told.err)
		sequences[service] = told.sequence
	}
	again()
	for service, one := range parcels {
		if told := <-one.stored; codeOf(told.err) != codeWrongSequence {
			t.Errorf("service %d was told %v, want that it has another sequence", service, told.err)
		}
		if found, err := p.resolve(ctx, writes[service], 0); err != nil || found != sequences[service] {
			t.Errorf("service %d has sequence %d (%v), want %d", service, found, err, sequences[service])
		}
	}
}

// Who cannot wait is not kept waiting by what others save.
func TestARecordIsSavedNowWhileOthersGather(t *testing.T) {
	p, ctx := single(t), limited(t)
	p.records.running = true // a batch that does not come to an end
	revision, err := p.SaveRecordNow(ctx, 2, recordOf(2, 1), 0)
	must(t, err)
	if _, found, err := p.LoadRecord(ctx, 2); err != nil || found != revision {
		t.Errorf("the record has revision %d (%v), want %d", found, err, revision)
	}
	if _, err := p.SaveRecordNow(ctx, 2, recordOf(2, 1), revision-1); !errors.Is(err, ErrConflict) {
		t.Errorf("an older revision was told %v", err)
	}
}

// A bucket that an older Flowjet has made takes no batches until it is provisioned again.
func TestRecordsAreSavedWhereNoBatchIsTaken(t *testing.T) {
	p, ctx := single(t), limited(t)
	config := p.streams[stateStream].CachedInfo().Config
	config.AllowAtomicPublish = false
	_, err := p.js.UpdateStream(ctx, config)
	must(t, err)
	var callers []func() error
	for service := range 2 * worthBatching {
		callers = append(callers, func() error {
			_, err := p.SaveRecord(ctx, service, recordOf(service, 1), 0)
			return err
		})
	}
	must(t, errors.Join(gathered(t, p.records, callers...)...))
	services, err := p.RecordedServices(ctx)
	if must(t, err); len(services) != len(callers) {
		t.Errorf("%d records are saved, want %d", len(services), len(callers))
	}
}
