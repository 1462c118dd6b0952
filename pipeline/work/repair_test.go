package work

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// A stream of work that was cut off is numbered on from behind its cursors; its timers and
// the commands that wait are in it again, each once, and nothing else is.
func TestACutOffStreamIsNumberedOn(t *testing.T) {
	p, ctx := single(t), limited(t)
	queued := func(_ context.Context, command string) bool { return command == "waiting" }
	publish := func(work pipeline.Work) {
		t.Helper()
		_, err := p.PublishWork(ctx, work, nuid.Next())
		must(t, err)
	}
	if repaired, err := Repair(ctx, p.Pipeline, queued); repaired || err != nil {
		t.Fatalf("a whole stream was repaired (%v)", err)
	}
	publish(pipeline.Work{Service: 42, Reason: "a wake-up"})
	for _, command := range []string{"waiting", "done"} {
		publish(pipeline.Work{Service: 42, Command: &flow.Command{ID: command, Service: 42, Verb: flow.VerbScale}})
	}
	must(t, p.SetTimer(ctx, 42, pipeline.Timer{Name: "look", Generation: 3, Due: soon(time.Hour)}))
	const read = 500
	must(t, p.SaveCursor(ctx, pipeline.PartitionKey(pipeline.Partition(42)), read))
	cursor, last, early, err := EndsEarly(ctx, p.Pipeline)
	must(t, err)
	if cursor != read || last != 4 || !early {
		t.Errorf("it ends at %d, read up to %d: early %v", last, cursor, early)
	}
	repaired, err := Repair(ctx, p.Pipeline, queued)
	must(t, err)
	if !repaired {
		t.Fatal("it was not repaired")
	}
	if _, _, early, err := EndsEarly(ctx, p.Pipeline); early || err != nil {
		t.Errorf("it still ends early (%v)", err)
	}
	reader := readPartition(t, p, pipeline.Partition(42), read)
	input, err := reader.Next(ctx)
	must(t, err)
	if input.Work.Command == nil || input.Work.Command.ID != "waiting" || input.Sequence < read+pipeline.BeyondCursors {
		t.Errorf("first comes %+v", input)
	}
	info, err := p.Client.Stream(pipeline.StreamWork).Info(ctx, jetstream.WithSubjectFilter("flow.>"))
	must(t, err)
	if info.State.Msgs != 2 || info.State.Subjects[pipeline.TimerSubject(42, "look")] != 1 {
		t.Errorf("the stream holds %v", info.State.Subjects)
	}
	if again, err := Repair(ctx, p.Pipeline, queued); again || err != nil {
		t.Errorf("it was repaired twice (%v)", err)
	}
}

func TestOwnersOfManyObjects(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		must(t, p.PutOwners(ctx))
		for _, count := range []int{3, 200} {
			var all []Owner
			for id := range count {
				all = append(all, Owner{Kind: "vm", ID: id, Service: 1000*count + id})
			}
			must(t, p.PutOwners(ctx, append(all, Owner{Kind: "net", ID: 7, Service: count})...))
			poll.Until(t, "the owners to be read, whichever replica answers", func() bool {
				owners, err := p.Owners(ctx)
				must(t, err)
				return len(owners["vm"]) == count && owners["vm"][2] == 1000*count+2 && owners["net"][7] == count
			})
		}
		bucket := p.Bucket(pipeline.BucketOwners)
		must(t, bucket.Put(ctx, "vm-1", []byte("nobody")))
		must(t, bucket.Put(ctx, "odd", []byte("1")))
		if _, _, err := p.Owner(ctx, "vm", 1); err == nil {
			t.Error("what is no service owns a VM")
		}
		must(t, p.ForgetOwner(ctx, "vm", 2))
		must(t, p.ForgetOwner(ctx, "vm", 999_999))
		poll.Until(t, "what is left to be read", func() bool {
			owners, err := p.Owners(ctx)
			must(t, err)
			return len(owners["vm"]) == 198 && len(owners) == 2
		})
	})
}

// Records of a cluster are saved side by side, each under its own condition.
func TestRecordsOfAClusterAreSavedSideBySide(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx, done := limited(t), make(chan error)
		const services = 30
		for service := range services {
			go func() {
				revision := uint64(0)
				for round := range uint64(3) {
					saved, err := p.SaveRecord(ctx, service, recordOf(service, round), revision)
					if err != nil {
						done <- fmt.Errorf("service %d, round %d: %w", service, round, err)
						return
					}
					revision = saved
				}
				done <- nil
			}()
		}
		for range services {
			must(t, <-done)
		}
		for service := range services {
			if record, _, err := p.LoadRecord(ctx, service); err != nil || record.Applied != 2 || record.State.Service.ID != service {
				t.Errorf("service %d has %+v (%v)", service, record, err)
			}
		}
	})
}
