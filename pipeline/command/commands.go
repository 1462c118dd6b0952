// Package command queues users' commands for workers, and keeps their results and
// the keys under which requests are repeated.
package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Commands are the commands of the last 24 hours.
type Commands struct {
	core    *js.Client
	bucket  *js.Bucket
	queue   *work.Queue
	replies *inbox
}

// New returns the commands of a pipeline.
func New(p *pipeline.Pipeline) *Commands {
	return &Commands{p.Client, p.Bucket(pipeline.BucketCommands), work.NewQueue(p), &inbox{core: p.Client, waiting: map[string]chan pipeline.Reply{}}}
}

// SubmitCommand queues a command for the service's worker and waits so long for
// its answer. pipeline.ErrNoReply is returned if there was none in time: the command stays
// queued, and CommandStatus returns its state. The command's id must be new: for a command that may
// have been submitted before there is ResumeCommand.
func (c *Commands) SubmitCommand(ctx context.Context, command flow.Command, wait time.Duration) (pipeline.Reply, error) {
	// Both wait for the disk. A command that has been answered need not wait for the registration.
	registered := make(chan struct{})
	var registration error
	go func() {
		defer close(registered)
		registration = c.register(ctx, command)
	}()
	replyTo, replies, err := c.replies.expect()
	if err == nil {
		defer c.replies.remove(replyTo)
		err = c.enqueue(ctx, command, replyTo)
	}
	if err != nil {
		<-registered
		err = fmt.Errorf("queue command %s: %w", command.ID, err)
		if js.Transient(err) || errors.Is(err, context.Canceled) {
			return pipeline.Reply{}, err // it may be queued, and stays registered
		}
		ctx, cancel := context.WithTimeout(context.Background(), js.Attempt)
		defer cancel()
		return pipeline.Reply{}, errors.Join(err, c.bucket.Purge(ctx, command.ID))
	}
	limit := time.NewTimer(wait)
	defer limit.Stop()
	unanswered := pipeline.ErrNoReply
	select {
	case reply := <-replies:
		return reply, nil
	case <-limit.C:
	case <-ctx.Done():
		unanswered = fmt.Errorf("%w: %w", pipeline.ErrNoReply, ctx.Err())
	}
	if <-registered; registration != nil && ctx.Err() == nil {
		return pipeline.Reply{}, fmt.Errorf("%w; the command is queued nevertheless", registration)
	}
	return pipeline.Reply{}, fmt.Errorf("command %s for service %d: %w", command.ID, command.Service, unanswered)
}

// enqueue publishes a command whose reply goes to an inbox, if one is given. The message's id
// is the command's: two concurrent calls publish one message.
func (c *Commands) enqueue(ctx context.Context, command flow.Command, replyTo string) error {
	_, err := c.queue.PublishCommand(ctx, pipeline.Work{Service: command.Service, Command: &command}, "command-"+command.ID, replyTo)
	return err
}

// storedStatus is a CommandStatus in its stored form: with the kind of a refusal, so
// that its reply can be sent again.
type storedStatus struct {
	pipeline.CommandStatus
	Refused flow.RefusalKind `json:"refused,omitempty"`
}

func (s storedStatus) reply() pipeline.Reply {
	return pipeline.Reply{Version: pipeline.Version, Command: s.ID, Message: s.Message, Refused: s.Refused, Time: s.Ended}
}

// register stores the command as queued, unless a status is stored already: it may have
// ended by now, or this very call's first answer was lost.
func (c *Commands) register(ctx context.Context, command flow.Command) (err error) {
	defer errs.Wrap(&err, "register command %s for service %d", command.ID, command.Service)
	if _, err = c.bucket.Create(ctx, command.ID, pipeline.Encode(statusOf(command, time.Now().UTC()))); js.Conflict(err) {
		return nil
	}
	return err
}

// statusOf returns the status of a command that is queued.
func statusOf(command flow.Command, queued time.Time) pipeline.CommandStatus {
	return pipeline.CommandStatus{
		Version: pipeline.Version, ID: command.ID, State: pipeline.CommandQueued, Verb: command.Verb,
		Service: command.Service, UID: command.User.UID, Queued: queued,
	}
}

// CommandStatus returns the status of a command of the last 24 hours; pipeline.ErrNotFound
// for a command that was never submitted or ended longer ago.
func (c *Commands) CommandStatus(ctx context.Context, id string) (pipeline.CommandStatus, error) {
	status, err := c.storedStatus(ctx, id)
	return status.CommandStatus, err
}

// CommandReply returns the reply of a command that has ended, to be sent again;
// ended is false while it is queued. The errors are CommandStatus's.
func (c *Commands) CommandReply(ctx context.Context, id string) (reply pipeline.Reply, verb flow.Verb, ended bool, err error) {
	status, err := c.storedStatus(ctx, id)
	if err != nil || status.State == pipeline.CommandQueued {
		return pipeline.Reply{}, status.Verb, false, err
	}
	return status.reply(), status.Verb, true, nil
}

// Queued reports whether a command waits for its worker.
func (c *Commands) Queued(ctx context.Context, id string) bool {
	status, err := c.storedStatus(ctx, id)
	return err == nil && status.State == pipeline.CommandQueued
}

func (c *Commands) storedStatus(ctx context.Context, id string) (status storedStatus, err error) {
	text, revision, err := c.bucket.Get(ctx, id)
	missing := errors.Is(err, jetstream.ErrInvalidKey) || err == nil && revision == 0
	if err == nil && !missing {
		if err = json.Unmarshal(text, &status); err != nil {
			err = fmt.Errorf("its status cannot be read: %w", err)
		}
	}
	switch {
	case missing, err == nil && status.ID != id: // or a reservation
		return storedStatus{}, fmt.Errorf("command %s: %w", id, pipeline.ErrNotFound)
	case err != nil:
		return storedStatus{}, fmt.Errorf("look up command %s: %w", id, err)
	}
	return status, nil
}

// EachCommand visits every command of the last 24 hours, in the order in which they last changed.
func (c *Commands) EachCommand(ctx context.Context, visit func(pipeline.CommandStatus)) (err error) {
	defer errs.Wrap(&err, "read the commands")
	return c.bucket.Each(ctx, func(key string, value []byte) {
		var status pipeline.CommandStatus
		if json.Unmarshal(value, &status) == nil && status.ID == key && status.Verb != "" {
			visit(status)
		}
	})
}

// FinishCommand answers the sender of an input's command, if it waits, and then
// stores the outcome: the reply is durable in the service's record already, and
// the sender need not wait for the disk once more. Until FinishCommand returns nil it is
// to be called again; that is harmless, since the first reply counts.
func (c *Commands) FinishCommand(ctx context.Context, input pipeline.Input, reply pipeline.Reply) (err error) {
	status := statusOf(*input.Work.Command, input.Published)
	defer errs.Wrap(&err, "answer command %s to service %d", status.ID, status.Service)
	status.State, status.Message, status.Ended = pipeline.CommandDone, reply.Message, reply.Time
	if reply.Refused != "" {
		status.State = pipeline.CommandRefused
	}
	reply.Version = pipeline.Version
	if isInbox(input.ReplyTo) {
		if err := c.core.Conn().Publish(input.ReplyTo, pipeline.Encode(reply)); err != nil {
			// The sender will ask for the status.
			c.core.Log().Warn("a command's reply was not sent", "command", reply.Command, "error", err)
		}
	}
	return c.bucket.Put(ctx, status.ID, pipeline.Encode(storedStatus{status, reply.Refused}))
}

// isInbox keeps replies away from our own streams and the server's, whatever a message's header holds.
func isInbox(subject string) bool {
	reserved := slices.ContainsFunc([]string{"one.", "flow.", "$"}, func(prefix string) bool { return strings.HasPrefix(subject, prefix) })
	return !reserved && js.CheckSubject(subject) == nil && !strings.ContainsAny(subject, "*>")
}

// ResumeCommand is SubmitCommand for a command that may have been submitted
// before, by a process that has ended since: it is carried out once whatever
// the outcome of the first attempt. The errors are SubmitCommand's.
func (c *Commands) ResumeCommand(ctx context.Context, command flow.Command, wait time.Duration) (pipeline.Reply, error) {
	err := c.register(ctx, command)
	var status storedStatus
	if err == nil {
		status, err = c.storedStatus(ctx, command.ID)
	}
	if err == nil && status.State == pipeline.CommandQueued {
		if err = c.requeue(ctx, command); err == nil {
			status, err = c.awaitEnd(ctx, command, wait)
		}
	}
	if err != nil {
		return pipeline.Reply{}, err
	}
	return status.reply(), nil
}

// requeue publishes a registered command unless it is in the stream.
func (c *Commands) requeue(ctx context.Context, command flow.Command) error {
	stored := false
	err := c.core.Stream(pipeline.StreamWork).Each(ctx, pipeline.StoredWorkSubject(command.Service), 0, func(message js.Message) {
		var work pipeline.Work
		stored = stored || json.Unmarshal(message.Data, &work) == nil && work.Command != nil && work.Command.ID == command.ID
	})
	errs.Wrap(&err, "look for command %s in the work of service %d", command.ID, command.Service)
	if err == nil && !stored {
		err = c.enqueue(ctx, command, "")
		errs.Wrap(&err, "queue command %s again", command.ID)
	}
	return err
}

// awaitEnd waits until the command has ended; pipeline.ErrNoReply after wait.
func (c *Commands) awaitEnd(ctx context.Context, command flow.Command, wait time.Duration) (status storedStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = c.bucket.Await(ctx, command.ID, func(value []byte) (goOn bool) {
		status = storedStatus{}
		return json.Unmarshal(value, &status) != nil || status.State == pipeline.CommandQueued
	})
	if err != nil && (ctx.Err() != nil || errors.Is(err, js.ErrClosed)) {
		return storedStatus{}, fmt.Errorf("command %s for service %d: %w", command.ID, command.Service, pipeline.ErrNoReply)
	}
	errs.Wrap(&err, "wait for command %s", command.ID)
	return status, err
}

// inbox is one subscription for all replies that this process waits for, made when the
// first one is. It ends with the client.
type inbox struct {
	core *js.Client

	mu           sync.Mutex
	prefix       string
	subscription *nats.Subscription
	waiting      map[string]chan pipeline.Reply
}

// expect opens an address for one reply. The channel receives at most one
// reply; remove closes the address.
func (i *inbox) expect() (address string, replies <-chan pipeline.Reply, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.subscription == nil {
		prefix := i.core.Conn().NewInbox() + "."
		subscription, err := i.core.Conn().Subscribe(prefix+"*", func(message *nats.Msg) {
			var reply pipeline.Reply
			if json.Unmarshal(message.Data, &reply) != nil {
				return
			}
			if channel := i.remove(message.Subject); channel != nil {
				channel <- reply
			}
		})
		if err != nil {
			return "", nil, fmt.Errorf("listen for command replies on %s: %w", i.core.Server(), err)
		}
		i.prefix, i.subscription = prefix, subscription
		context.AfterFunc(i.core.Life(), func() { _ = subscription.Unsubscribe() })
	}
	address, channel := i.prefix+nuid.Next(), make(chan pipeline.Reply, 1)
	i.waiting[address] = channel
	return address, channel, nil
}

// remove removes the channel that waits at the address.
func (i *inbox) remove(address string) chan pipeline.Reply {
	i.mu.Lock()
	defer i.mu.Unlock()
	channel := i.waiting[address]
	delete(i.waiting, address)
	return channel
}

// Reserve stores the reservation under a name unless there is one, and returns
// the stored one, with its revision. It is the caller's own if its Command is.
func (c *Commands) Reserve(ctx context.Context, name string, wanted pipeline.Reservation) (pipeline.Reservation, uint64, error) {
	wanted.Version = pipeline.Version
	revision, err := c.bucket.Create(ctx, name, pipeline.Encode(wanted))
	if js.Conflict(err) {
		return c.Reservation(ctx, name)
	}
	errs.Wrap(&err, "reserve a request's key")
	return wanted, revision, err
}

// Reservation returns the reservation under a name; pipeline.ErrNotFound if there is none.
func (c *Commands) Reservation(ctx context.Context, name string) (held pipeline.Reservation, revision uint64, err error) {
	defer errs.Wrap(&err, "look up a request's key")
	text, revision, err := c.bucket.Get(ctx, name)
	switch {
	case err == nil && revision == 0:
		err = pipeline.ErrNotFound
	case err == nil:
		err = json.Unmarshal(text, &held)
	}
	return held, revision, err
}

// UpdateReservation replaces a reservation if its revision is still the one
// given; pipeline.ErrConflict if not.
func (c *Commands) UpdateReservation(ctx context.Context, name string, held pipeline.Reservation, revision uint64) (updated uint64, err error) {
	defer errs.Wrap(&err, "change a request's key")
	held.Version = pipeline.Version
	data := pipeline.Encode(held)
	if updated, err = c.bucket.Update(ctx, name, data, revision); js.Conflict(err) {
		// It may have been this very write, whose answer was lost.
		now, current, failed := c.bucket.Get(ctx, name)
		if failed == nil && current > 0 && bytes.Equal(now, data) {
			return current, nil
		}
		err = pipeline.ErrConflict
	}
	return updated, err
}

// Change is a command that has been queued, or waits no longer.
type Change struct {
	ID string
	// UID is that of the sender, Since when it was queued; only set while it waits.
	UID     int
	Since   time.Time
	Waiting bool
}

// keyPrefix is the part of a command's subject before its id.
var keyPrefix = pipeline.KeySubject(pipeline.BucketCommands, "")

// FollowCommands visits the latest change of each command that is kept, whichever API has queued it, and
// then every change. A command that ended before it was read is visited once. It returns ctx's error, or pipeline.ErrClosed.
func (c *Commands) FollowCommands(ctx context.Context, visit func(Change)) error {
	return c.core.Stream(pipeline.StreamOf(pipeline.BucketCommands)).Follow(ctx, keyPrefix+">", 0, func(message js.Message) {
		id := strings.TrimPrefix(message.Subject, keyPrefix)
		var status pipeline.CommandStatus
		switch {
		case len(message.Data) == 0: // it was withdrawn
			visit(Change{ID: id})
		case json.Unmarshal(message.Data, &status) != nil || status.ID != id: // a request's key
		case status.State != pipeline.CommandQueued:
			visit(Change{ID: id})
		default:
			visit(Change{ID: id, UID: status.UID, Since: message.Time, Waiting: true})
		}
	})
}
