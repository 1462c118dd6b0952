package pipeline

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/natstest"
)

func recordOf(service int, applied uint64) Record {
	return Record{Applied: applied, State: flow.State{Service: flow.Service{ID: service}}}
}

func TestARecordIsSavedByCompareAndSet(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p *Pipeline) {
		ctx := limited(t)
		record, revision, err := p.LoadRecord(ctx, 42)
		must(t, err)
		if revision != 0 || record.Applied != 0 {
			t.Fatalf("a record that is not there is %+v, revision %d", record, revision)
		}
		first, err := p.SaveRecord(ctx, 42, recordOf(42, 1), 0)
		must(t, err)
		second, err := p.SaveRecord(ctx, 42, recordOf(42, 2), first)
		must(t, err)
		for _, stale := range []uint64{0, first, second + 100} {
			if _, err := p.SaveRecord(ctx, 42, recordOf(42, 3), stale); !errors.Is(err, ErrConflict) {
				t.Errorf("saved over revision %d: %v", stale, err)
			}
		}
		if _, err := p.SaveRecord(ctx, 42, recordOf(42, 2), first); !errors.Is(err, ErrConflict) {
			t.Errorf("a second writer of the same content went on: %v", err)
		}
		if _, err := p.SaveRecord(ctx, 7, recordOf(7, 1), 5); !errors.Is(err, ErrConflict) {
			t.Errorf("saved what was not there: %v", err)
		}
		record, revision, err = p.LoadRecord(ctx, 42)
		must(t, err)
		if record.Applied != 2 || revision != second || record.Version != Version {
			t.Errorf("loaded %+v, revision %d", record, revision)
		}
	})
}

// Of many writers from the same revision exactly one wins, every time.
func TestOneWriterWins(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p *Pipeline) {
		ctx := limited(t)
		revision := uint64(0)
		for round := range 12 {
			var wins atomic.Int32
			var won atomic.Uint64
			var group errgroup.Group
			for range 6 {
				group.Go(func() error {
					saved, err := p.SaveRecord(ctx, 42, recordOf(42, uint64(round)), revision)
					if errors.Is(err, ErrConflict) {
						return nil
					}
					if err == nil {
						wins.Add(1)
						won.Store(saved)
					}
					return err
				})
			}
			must(t, group.Wait())
			if wins.Load() != 1 {
				t.Fatalf("round %d: %d writers won", round, wins.Load())
			}
			revision = won.Load()
		}
	})
}

func TestADeletedRecordIsGoneAndCanBeMadeAgain(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p *Pipeline) {
		ctx := limited(t)
		revision, err := p.SaveRecord(ctx, 42, recordOf(42, 1), 0)
		must(t, err)
		if err := p.DeleteRecord(ctx, 42, revision+9); !errors.Is(err, ErrConflict) {
			t.Errorf("deleted another revision: %v", err)
		}
		must(t, p.DeleteRecord(ctx, 42, revision))
		must(t, p.DeleteRecord(ctx, 42, revision))
		if _, found, err := p.LoadRecord(ctx, 42); err != nil || found != 0 {
			t.Fatalf("revision %d, %v", found, err)
		}
		if _, err := p.SaveRecord(ctx, 42, recordOf(42, 2), revision); !errors.Is(err, ErrConflict) {
			t.Errorf("a stale writer brought the record back: %v", err)
		}
		if _, err := p.SaveRecord(ctx, 42, recordOf(42, 3), 0); err != nil {
			t.Fatal(err)
		}
	})
}

// A record that was written a moment ago is read as written, whichever replica
// the reader is connected to.
func TestAReadIsNeverBehindAWrite(t *testing.T) {
	nodes := natstest.Cluster(t, 3)
	writer, ctx := open(t, nodes.URL(), replicas(3)), limited(t)
	for _, node := range nodes {
		reader := open(t, node.URL())
		for round := range uint64(100) {
			_, now, err := writer.LoadRecord(ctx, 42)
			must(t, err)
			revision, err := writer.SaveRecord(ctx, 42, recordOf(42, round), now)
			must(t, err)
			_, found, err := reader.LoadRecord(ctx, 42)
			must(t, err)
			if found != revision {
				t.Fatalf("round %d: revision %d was read after %d was written", round, found, revision)
			}
		}
	}
}

func TestRecordedServicesListsAll(t *testing.T) {
	p, ctx := single(t), limited(t)
	services, err := p.RecordedServices(ctx)
	must(t, err)
	if len(services) != 0 {
		t.Fatalf("%v", services)
	}
	const count = 1100 // More than a direct multi-get returns.
	var group errgroup.Group
	group.SetLimit(16)
	for service := range count {
		group.Go(func() error {
			_, err := p.SaveRecord(ctx, service, recordOf(service, 1), 0)
			return err
		})
	}
	must(t, group.Wait())
	_, revision, err := p.LoadRecord(ctx, 3)
	must(t, err)
	must(t, p.DeleteRecord(ctx, 3, revision))
	services, err = p.RecordedServices(ctx)
	must(t, err)
	slices.Sort(services)
	if len(services) != count-1 || services[3] != 4 {
		t.Errorf("%d services, %v", len(services), services[:5])
	}
}

func TestOwners(t *testing.T) {
	p, ctx := single(t), limited(t)
	if _, known, err := p.Owner(ctx, "vm", 21); known || err != nil {
		t.Fatalf("%v, %v", known, err)
	}
	must(t, p.PutOwner(ctx, "vm", 21, 42))
	must(t, p.PutOwners(ctx, []OwnerNote{{Kind: "net", ID: 21, Service: 43}}))
	service, known, err := p.Owner(ctx, "vm", 21)
	if service != 42 || !known || err != nil {
		t.Fatalf("%d, %v, %v", service, known, err)
	}
	must(t, p.ForgetOwner(ctx, "vm", 21))
	if _, known, err := p.Owner(ctx, "vm", 21); known || err != nil {
		t.Fatalf("%v, %v", known, err)
	}
	if service, _, _ := p.Owner(ctx, "net", 21); service != 43 {
		t.Errorf("the network belongs to %d", service)
	}
}

func TestTransitionsAreToldInOrderAndOnce(t *testing.T) {
	p, ctx := single(t), limited(t)
	first := 0
	transitions := []Transition{
		{Service: 42, Change: flow.Change{Kind: "role", Role: "Master", Old: "PENDING", New: "DEPLOYING"}},
		{Service: 42, Change: flow.Change{Kind: "vm", VM: &first, Role: "Master", New: "created"}},
		{Service: 42, Change: flow.Change{Kind: "service", Old: "PENDING", New: "DEPLOYING"}},
	}
	must(t, p.PublishTransitions(ctx, nil, 1))
	must(t, p.PublishTransitions(ctx, transitions[:2], 1))
	must(t, p.PublishTransitions(ctx, transitions, 1))
	for i, subject := range []string{"flow.event.42.role.Master.DEPLOYING", "flow.event.42.vm.0.created", "flow.event.42.service.DEPLOYING"} {
		message, err := p.streams[StreamFlow].GetMsg(ctx, uint64(i+1))
		must(t, err)
		if message.Subject != subject {
			t.Errorf("transition %d is on %s", i, message.Subject)
		}
		if said := strings.Contains(string(message.Data), `"vm":0`); said != (i == 1) {
			t.Errorf("transition %d is %s", i, message.Data)
		}
	}
	info, err := p.streams[StreamFlow].Info(ctx)
	must(t, err)
	if info.State.Msgs != 3 {
		t.Errorf("%d messages", info.State.Msgs)
	}
}

func TestADeadLettersReasonIsOneLine(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.DeadLetter(ctx, "bridge", "first\r\nNats-Rollup: all\nthird", make([]byte, maxDeadBytes+1)))
	message, err := p.streams[StreamDead].GetLastMsgForSubject(ctx, DeadSubject("bridge"))
	must(t, err)
	if reason := message.Header.Get(HeaderReason); reason != "first Nats-Rollup: all third" {
		t.Errorf("the reason is %q", reason)
	}
	if len(message.Data) != maxDeadBytes {
		t.Errorf("%d bytes are kept", len(message.Data))
	}
}
