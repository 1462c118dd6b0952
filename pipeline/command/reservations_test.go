package command

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/nats-io/nuid"
)

func TestAKeyIsReservedOnce(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		first, revision, err := p.Reserve(ctx, "key-1", pipeline.Reservation{Command: "c1", Request: "r", Taken: time.Now().UTC()})
		must(t, err)
		second, _, err := p.Reserve(ctx, "key-1", pipeline.Reservation{Command: "c2", Request: "r"})
		must(t, err)
		if first.Command != "c1" || second.Command != "c1" || second.Taken.IsZero() {
			t.Errorf("reserved %+v and %+v", first, second)
		}
		first.Answer = &pipeline.KeptAnswer{Status: 204}
		_, err = p.UpdateReservation(ctx, "key-1", first, revision)
		must(t, err)
		if _, err := p.UpdateReservation(ctx, "key-1", second, revision); !errors.Is(err, pipeline.ErrConflict) {
			t.Errorf("an old revision: %v", err)
		}
		// The same write again, as after a lost answer, is no conflict.
		_, err = p.UpdateReservation(ctx, "key-1", first, revision)
		must(t, err)
		held, _, err := p.Reservation(ctx, "key-1")
		must(t, err)
		if held.Answer == nil || held.Answer.Status != 204 {
			t.Errorf("kept %+v", held)
		}
		if _, err := p.CommandStatus(ctx, "key-1"); !errors.Is(err, pipeline.ErrNotFound) {
			t.Errorf("a reservation is taken for a command: %v", err)
		}
		if _, _, err := p.Reservation(ctx, "key-2"); !errors.Is(err, pipeline.ErrNotFound) {
			t.Errorf("a key that nobody used: %v", err)
		}
	})
}

// queuedCommands are the ids of the commands that service 42's work holds.
func queuedCommands(t testing.TB, p clients, until string) []string {
	t.Helper()
	_, err := p.PublishWork(limited(t), pipeline.Work{Service: 42, Reason: until}, nuid.Next())
	must(t, err)
	reader := readPartition(t, p, pipeline.Partition(42), 0)
	var ids []string
	for {
		input, err := reader.Next(limited(t))
		must(t, err)
		if input.Work.Reason == until {
			return ids
		}
		if input.Work.Command != nil {
			ids = append(ids, input.Work.Command.ID)
		}
	}
}

func TestACommandIsResumedWhereverItStopped(t *testing.T) {
	p, ctx := single(t), limited(t)
	const soon = 20 * time.Millisecond
	never, registered, published := command("never"), command("registered"), command("published")
	must(t, p.register(ctx, registered))
	if _, err := p.SubmitCommand(ctx, published, soon); !errors.Is(err, pipeline.ErrNoReply) {
		t.Fatal(err)
	}
	for range 2 {
		for _, each := range []flow.Command{never, registered, published} {
			if _, err := p.ResumeCommand(ctx, each, soon); !errors.Is(err, pipeline.ErrNoReply) {
				t.Fatalf("%s: %v", each.ID, err)
			}
		}
	}
	if ids := queuedCommands(t, p, "end"); len(ids) != 3 {
		t.Errorf("queued are %v", ids)
	}
}

func TestAResumedCommandGetsItsReply(t *testing.T) {
	p, ctx := single(t), limited(t)
	refused := pipeline.Reply{Command: "c1", Refused: flow.RefusedMissing, Message: "no such role"}
	if _, err := p.SubmitCommand(ctx, command("c1"), time.Millisecond); !errors.Is(err, pipeline.ErrNoReply) {
		t.Fatal(err)
	}
	finished := make(chan error, 1)
	go func() {
		finished <- p.FinishCommand(context.Background(), inputOf("c1", ""), refused)
	}()
	for range 2 { // while it is queued, and when it has ended
		reply, err := p.ResumeCommand(ctx, command("c1"), poll.Limit)
		must(t, err)
		if reply.Refused != flow.RefusedMissing || reply.Message != refused.Message {
			t.Errorf("the reply is %+v", reply)
		}
	}
	must(t, <-finished)
	reply, verb, ended, err := p.CommandReply(ctx, "c1")
	must(t, err)
	if !ended || verb != flow.VerbScale || reply.Refused != flow.RefusedMissing {
		t.Errorf("got %+v, %s, %v", reply, verb, ended)
	}
}
