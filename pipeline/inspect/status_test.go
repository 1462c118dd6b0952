package inspect

import (
	"context"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
	"github.com/flowjet/flowjet/pipeline/work"
	"github.com/nats-io/nuid"
)

// join announces a worker on a connection of its own until the test ends.
func join(t *testing.T, url, id string, change ...func(*pipeline.Config)) *work.Membership {
	t.Helper()
	m, err := work.Join(limited(t), pipetest.Open(t, url, change...), id)
	must(t, err)
	t.Cleanup(func() { m.Leave(limited(t)) })
	return m
}

// status reads the work's status until it is as expected.
func status(t *testing.T, observer *Observer, what string, expected func(Work) bool) (found Work) {
	t.Helper()
	poll.Until(t, what, func() bool {
		status, err := observer.Status(limited(t))
		must(t, err)
		found = status.Work()
		return expected(found)
	})
	return found
}

func (s Work) owns(worker string) (partitions int) {
	for _, partition := range s.Partitions {
		if partition.Worker == worker {
			partitions++
		}
	}
	return partitions
}

func TestWorkStatusShowsWhoDoesWhat(t *testing.T) {
	p, ctx := single(t), limited(t)
	url := p.State().Server
	observer, err := p.Observe()
	must(t, err)
	defer observer.Stop()
	none := status(t, observer, "nobody to be there", func(s Work) bool { return len(s.Workers) == 0 })
	if none.Router != "" || none.Autoscaler != "" || none.owns("") != pipeline.Partitions {
		t.Errorf("without workers: %+v", none)
	}
	a, b := join(t, url, "a"), join(t, url, "b")
	both := status(t, observer, "a and b to share", func(s Work) bool { return s.owns("a") == 8 && s.owns("b") == 8 })
	if len(both.Workers) != 2 || both.Workers[0] != (WorkerStatus{Name: "a"}) || both.Router == "" || both.Autoscaler == "" {
		t.Errorf("two workers: %+v", both)
	}
	a.SetTrouble(true, "")
	one := status(t, observer, "b to own all", func(s Work) bool { return s.owns("b") == pipeline.Partitions })
	if one.Workers[0] != (WorkerStatus{Name: "a", OnedUnreachable: true}) || one.Router != "b" {
		t.Errorf("a worker that cannot reach oned: %+v", one)
	}
	b.Leave(ctx)
	status(t, observer, "a to own all, as nobody else is there", func(s Work) bool { return s.owns("a") == pipeline.Partitions })
}

// What is shown is what the workers do: one of an older version leaves the work to a newer
// one.
func TestAnOlderWorkerIsShownToOwnNothing(t *testing.T) {
	url := natstest.Server(t)
	old := join(t, url, "old", func(c *pipeline.Config) { c.Schema = 1 })
	poll.Until(t, "the old one to own all", func() bool { return len(old.Owned()) == len(pipeline.Keys()) })
	p := open(t, url)
	observer, err := p.Observe()
	must(t, err)
	defer observer.Stop()
	join(t, url, "new")
	status(t, observer, "the new one to own all", func(s Work) bool { return len(s.Workers) == 2 && s.owns("new") == pipeline.Partitions })
	poll.Until(t, "the old one to own nothing", func() bool { return len(old.Owned()) == 0 })
	overview, err := p.Overview(limited(t), nil)
	must(t, err)
	if len(overview.Workers) != 2 || len(overview.Unowned) != 0 {
		t.Fatalf("the workers are %+v, nobody owns %v", overview.Workers, overview.Unowned)
	}
	for _, worker := range overview.Workers {
		isNew := worker.Worker == "new"
		if worker.Router != isNew || worker.Autoscaler != isNew || (len(worker.Partitions) == pipeline.Partitions) != isNew {
			t.Errorf("the overview shows %+v", worker)
		}
	}
}

func TestWorkStatusCountsWhatWaits(t *testing.T) {
	p, ctx := single(t), limited(t)
	observer, err := p.Observe()
	must(t, err)
	defer observer.Stop()
	for range 3 {
		_, err := p.PublishWork(ctx, pipeline.Work{Service: 42}, nuid.Next())
		must(t, err)
	}
	must(t, p.SaveCursor(ctx, pipeline.PartitionKey(pipeline.Partition(42)), 1))
	for vm := range 4 {
		_, err := p.JetStream().Publish(ctx, pipeline.VMSubject(0, vm, "ACTIVE", "RUNNING"), nil)
		must(t, err)
	}
	_, err = p.JetStream().Publish(ctx, pipeline.LeaseSubject("fe1"), nil) // no event
	must(t, err)
	must(t, p.SaveCursor(ctx, pipeline.RouterKey, 1))
	must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "work"}))
	status, err := observer.Status(ctx)
	must(t, err)
	found := status.Work()
	if waiting := found.Partitions[pipeline.Partition(42)]; waiting.Waiting != 2 || waiting.Partition != pipeline.Partition(42) {
		t.Errorf("in the partition wait %+v", waiting)
	}
	if found.EventsWaiting != 3 || found.DeadLetters != 1 {
		t.Errorf("%d events wait, %d dead letters are kept", found.EventsWaiting, found.DeadLetters)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := observer.Status(gone); err == nil {
		t.Error("a status was read with a context that has ended")
	}
}

func TestTheServersClockAndStorage(t *testing.T) {
	p, ctx := single(t), limited(t)
	at, err := p.ServerTime(ctx)
	must(t, err)
	if off := time.Since(at); off < -time.Minute || off > time.Minute {
		t.Errorf("the server's clock is %v off", off)
	}
	if _, most, err := p.Storage(ctx); most > 0 || err != nil {
		t.Errorf("an account without a limit may use %d bytes (%v)", most, err)
	}
}
