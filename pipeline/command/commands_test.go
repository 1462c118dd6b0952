package command

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

func command(id string) flow.Command {
	return flow.Command{ID: id, Verb: flow.VerbScale, Service: 42, User: one.Identity{UID: 3, UName: "alice"}}
}

// answer reads one command and finishes it so many times.
func answer(t testing.TB, p clients, times int) {
	t.Helper()
	reader := readPartition(t, p, pipeline.Partition(42), 0)
	finished := make(chan struct{})
	t.Cleanup(func() { <-finished })
	go func() {
		defer close(finished)
		input, err := reader.Next(context.Background())
		if err != nil {
			return
		}
		reply := pipeline.Reply{Command: input.Work.Command.ID, Time: time.Now().UTC()}
		for range times {
			if err := p.FinishCommand(context.Background(), input, reply); err != nil {
				t.Error(err)
			}
		}
	}()
}

func TestACommandIsAnswered(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		answer(t, p, 2)
		reply, err := p.SubmitCommand(ctx, command("c1"), 10*time.Second)
		must(t, err)
		if reply.Command != "c1" || reply.Refused != "" {
			t.Errorf("the reply is %+v", reply)
		}
		var status pipeline.CommandStatus
		poll.Until(t, "the command to be noted as done", func() bool {
			status, err = p.CommandStatus(ctx, "c1")
			return err == nil && status.State == pipeline.CommandDone
		})
		if status.UID != 3 || status.Ended.IsZero() {
			t.Errorf("the status is %+v", status)
		}
		must(t, p.Conn().Flush())
		poll.Until(t, "no address to be left", func() bool {
			p.replies.mu.Lock()
			defer p.replies.mu.Unlock()
			return len(p.replies.waiting) == 0
		})
	})
}

func TestACommandWithoutAnAnswerStaysQueued(t *testing.T) {
	p, ctx := single(t), limited(t)
	if _, err := p.SubmitCommand(ctx, command("c1"), 20*time.Millisecond); !errors.Is(err, pipeline.ErrNoReply) {
		t.Fatalf("got %v", err)
	}
	cancelled, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := p.SubmitCommand(cancelled, command("c2"), time.Hour); !errors.Is(err, pipeline.ErrNoReply) {
		t.Fatalf("got %v", err)
	}
	for _, id := range []string{"c1", "c2"} {
		status, err := p.CommandStatus(ctx, id)
		must(t, err)
		if status.State != pipeline.CommandQueued || status.Service != 42 || status.Verb != flow.VerbScale {
			t.Errorf("the status is %+v", status)
		}
	}
	input, err := readPartition(t, p, pipeline.Partition(42), 0).Next(ctx)
	must(t, err)
	if input.Work.Command == nil || input.Work.Command.ID != "c1" || input.ReplyTo == "" {
		t.Fatalf("the queue has %+v", input)
	}
	late := pipeline.Reply{Command: "c1", Refused: flow.RefusedMissing, Message: "no such role"}
	must(t, p.FinishCommand(ctx, input, late))
	status, err := p.CommandStatus(ctx, "c1")
	must(t, err)
	if status.State != pipeline.CommandRefused || status.Message != "no such role" {
		t.Errorf("the status is %+v", status)
	}
}

func TestWhoWaitsIsAnsweredBeforeTheOutcomeIsStored(t *testing.T) {
	p, ctx := single(t), limited(t)
	address, replies, err := p.replies.expect()
	must(t, err)
	defer p.replies.remove(address)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := p.FinishCommand(gone, inputOf("c1", address), pipeline.Reply{Command: "c1"}); err == nil {
		t.Error("an outcome that was not stored counts as stored")
	}
	select {
	case reply := <-replies:
		if reply.Command != "c1" {
			t.Errorf("the reply is %+v", reply)
		}
	case <-ctx.Done():
		t.Error("no reply came")
	}
}

func TestACommandThatHasEndedIsNotNotedAsQueued(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.FinishCommand(ctx, inputOf("c1", ""), pipeline.Reply{Command: "c1"}))
	must(t, p.register(ctx, command("c1")))
	if status, err := p.CommandStatus(ctx, "c1"); err != nil || status.State != pipeline.CommandDone {
		t.Errorf("the status is %+v, %v", status, err)
	}
}

func TestACommandThatIsQueuedButNotNotedIsNotPromised(t *testing.T) {
	p, ctx := single(t), limited(t)
	const unheardOf = "no id for a bucket"
	_, err := p.SubmitCommand(ctx, command(unheardOf), 20*time.Millisecond)
	if err == nil || errors.Is(err, pipeline.ErrNoReply) {
		t.Errorf("got %v", err)
	}
	input, err := readPartition(t, p, pipeline.Partition(42), 0).Next(ctx)
	must(t, err)
	if input.Work.Command == nil || input.Work.Command.ID != unheardOf {
		t.Errorf("the queue has %+v", input)
	}
}

func TestCommandsThatNobodySubmittedAreNotFound(t *testing.T) {
	p := single(t)
	for _, id := range []string{"unknown", "", "a b", "a.*", "x.."} {
		if _, err := p.CommandStatus(limited(t), id); !errors.Is(err, pipeline.ErrNotFound) {
			t.Errorf("command %q: %v", id, err)
		}
	}
}

func TestRepliesGoToInboxesOnly(t *testing.T) {
	for subject, want := range map[string]bool{
		"_INBOX.abc.def": true, "custom.abc": true,
		"": false, "flow.work.1": false, "one.lease.x": false, "$JS.API.STREAM.DELETE.WORK": false, "a.*": false, "a b": false,
	} {
		if isInbox(subject) != want {
			t.Errorf("isInbox(%q) is %v", subject, !want)
		}
	}
}

// A client that was told that a request failed must not see it carried out when the
// front-end that it asked is connected again, hours later.
func TestACommandIsNotKeptForTheNextConnection(t *testing.T) {
	node := natstest.NewNode(t)
	p := open(t, node.URL())
	node.Stop()
	poll.Until(t, "the connection is known to be lost", func() bool { return !p.Conn().IsConnected() })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.SubmitCommand(ctx, command("late"), time.Second); err == nil || !js.Transient(err) {
		t.Errorf("submitting without a connection: %v", err)
	}
	node.Start()
	_, err := p.PublishWork(limited(t), pipeline.Work{Service: 8}, "next")
	must(t, err)
	stream, err := p.JetStream().Stream(limited(t), pipeline.StreamWork)
	must(t, err)
	info, err := stream.Info(limited(t))
	must(t, err)
	if info.State.Msgs != 1 {
		t.Errorf("%d messages are stored, want the one that was published behind the command", info.State.Msgs)
	}
	if status, err := p.CommandStatus(limited(t), "late"); !errors.Is(err, pipeline.ErrNotFound) {
		t.Errorf("the command is noted as %+v (%v)", status, err)
	}
}
