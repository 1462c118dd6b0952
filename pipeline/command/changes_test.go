package command

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// finish notes a command as ended.
func finish(t *testing.T, p clients, id, replyTo string) {
	t.Helper()
	must(t, p.FinishCommand(limited(t), inputOf(id, replyTo), pipeline.Reply{Command: id}))
}

// inputOf is a worker's input with a command.
func inputOf(id, replyTo string) pipeline.Input {
	sent := command(id)
	return pipeline.Input{Work: pipeline.Work{Service: sent.Service, Command: &sent}, ReplyTo: replyTo}
}

// submit queues a command that nobody answers.
func submit(t *testing.T, p clients, id string) {
	t.Helper()
	if _, err := p.SubmitCommand(limited(t), command(id), time.Millisecond); !errors.Is(err, pipeline.ErrNoReply) {
		t.Fatalf("command %s: %v", id, err)
	}
}

func TestChangesOfCommandsAreRead(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		submit(t, p, "c1")
		submit(t, p, "c2")
		finish(t, p, "c1", "")
		_, _, err := p.Reserve(ctx, "key-1", pipeline.Reservation{Command: "c9"})
		must(t, err)
		following, stop := context.WithCancel(ctx)
		changes, ended := make(chan Change, 10), make(chan error, 1)
		go func() { ended <- p.FollowCommands(following, func(change Change) { changes <- change }) }()
		waiting := map[string]bool{}
		read := func(count int) {
			t.Helper()
			for range count {
				select {
				case change := <-changes:
					if waiting[change.ID] = change.Waiting; change.Waiting && change.UID != 3 {
						t.Errorf("a command waits of user %d", change.UID)
					}
				case err := <-ended:
					t.Fatalf("the changes end: %v", err)
				}
			}
		}
		read(2)
		if len(waiting) != 2 || waiting["c1"] || !waiting["c2"] {
			t.Errorf("waiting are %v", waiting)
		}
		submit(t, p, "c3")
		finish(t, p, "c2", "")
		must(t, p.bucket.Purge(ctx, "c3"))                        // it was withdrawn
		for waiting["c2"] || waiting["c3"] || len(waiting) != 3 { // only the last change of a command is kept: that c3 waited may not be seen
			read(1)
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("at the end: %v", err)
		}
	})
}

func TestCommandsAreListed(t *testing.T) {
	p, ctx := single(t), limited(t)
	submit(t, p, "c1")
	submit(t, p, "c2")
	finish(t, p, "c1", "")
	_, _, err := p.Reserve(ctx, "key-1", pipeline.Reservation{Command: "c9"})
	must(t, err)
	must(t, p.bucket.Put(ctx, "odd", []byte("no JSON")))
	var listed []string
	must(t, p.EachCommand(ctx, func(status pipeline.CommandStatus) { listed = append(listed, status.ID+" "+status.State) }))
	if got := strings.Join(listed, ", "); got != "c2 queued, c1 done" {
		t.Errorf("listed are %s", got)
	}
	if p.Queued(ctx, "c1") || !p.Queued(ctx, "c2") || p.Queued(ctx, "c9") {
		t.Error("it is not known which command waits")
	}
	if _, err := p.CommandStatus(ctx, "odd"); err == nil || errors.Is(err, pipeline.ErrNotFound) {
		t.Errorf("a status that cannot be read: %v", err)
	}
}

// A reply goes to the inbox of the command's sender, once, and nowhere else.
func TestRepliesReachTheirInbox(t *testing.T) {
	p, ctx := single(t), limited(t)
	address, replies, err := p.replies.expect()
	must(t, err)
	defer p.replies.remove(address)
	for _, to := range []string{strings.Repeat("x", 5000), "_INBOX.a b", "_INBOX.a\r\nPUB flow.work.1 0", "flow.work.1", "_INBOX.>"} {
		finish(t, p, "c1", to)
	}
	must(t, p.Conn().Publish(address, []byte("no JSON")))
	finish(t, p, "c1", address)
	finish(t, p, "c1", address)
	select {
	case reply := <-replies:
		if reply.Command != "c1" || reply.Version != pipeline.Version {
			t.Errorf("the reply is %+v", reply)
		}
	case <-ctx.Done():
		t.Fatal("no reply came")
	}
	must(t, p.Conn().Flush())
	select {
	case reply := <-replies:
		t.Errorf("a second reply came: %+v", reply)
	default:
	}
	if info, err := p.Client.Stream(pipeline.StreamWork).Info(ctx); !p.State().Connected || err != nil || info.State.Msgs != 0 {
		t.Errorf("a reply became work, or ended the connection: %v", err)
	}
}

// A command that NATS can never take is not noted as queued.
func TestACommandThatCannotBeQueuedIsWithdrawn(t *testing.T) {
	p, ctx := single(t), limited(t)
	large := command("large")
	large.Arguments = []byte(`"` + strings.Repeat("x", int(p.Conn().MaxPayload())) + `"`)
	if _, err := p.SubmitCommand(ctx, large, time.Second); !errors.Is(err, js.ErrUnpublishable) {
		t.Fatalf("got %v", err)
	}
	if _, err := p.CommandStatus(ctx, "large"); !errors.Is(err, pipeline.ErrNotFound) {
		t.Errorf("it is noted: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := p.SubmitCommand(gone, command("gone"), time.Second); err == nil {
		t.Error("a command was submitted with a context that has ended")
	}
	if _, err := p.ResumeCommand(gone, command("gone"), time.Second); err == nil {
		t.Error("a command was resumed with a context that has ended")
	}
}
