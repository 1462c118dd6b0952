package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
)

// SubmitCommand queues a command for the service's worker and waits so long for
// its answer. ErrNoReply is returned when there was none in time: the command stays
// queued and CommandStatus tells of it. The command's id must be new: for one that may
// have been submitted before there is ResumeCommand.
func (p *Pipeline) SubmitCommand(ctx context.Context, command flow.Command, wait time.Duration) (Reply, error) {
	// Both wait for the disk. Who has been answered need not wait for the registration.
	registered := make(chan struct{})
	var registration error
	go func() {
		defer close(registered)
		registration = p.register(ctx, command)
	}()
	replyTo, replies, forget := p.replies.expect()
	defer forget()
	work := Work{Service: command.Service, Command: &command}
	if _, err := p.publishWork(ctx, work, commandMessage(command), replyTo); err != nil {
		<-registered
		return Reply{}, p.withdraw(command, err)
	}
	limit := time.NewTimer(wait)
	defer limit.Stop()
	unanswered := ErrNoReply
	select {
	case reply := <-replies:
		return reply, nil
	case <-limit.C:
	case <-ctx.Done():
		unanswered = fmt.Errorf("%w: %w", ErrNoReply, ctx.Err())
	}
	if <-registered; registration != nil && ctx.Err() == nil {
		return Reply{}, fmt.Errorf("%w; the command is queued all the same", registration)
	}
	return Reply{}, fmt.Errorf("command %s for service %d: %w", command.ID, command.Service, unanswered)
}

// commandMessage is the message id under which a command is queued.
func commandMessage(command flow.Command) string { return "command-" + command.ID }

// storedStatus is a CommandStatus as it is kept: with the kind of a refusal, so
// that its reply can be given again.
type storedStatus struct {
	CommandStatus
	Refused flow.RefusalKind `json:"refused,omitempty"`
}

func (s storedStatus) reply() Reply {
	reply := Reply{Version: Version, Command: s.ID, Message: s.Message, Refused: s.Refused}
	if s.State == CommandRefused && reply.Refused == "" {
		reply.Refused = flow.RefusedState // an older Flowjet wrote it
	}
	if s.Ended != nil {
		reply.Time = *s.Ended
	}
	return reply
}

// register notes the command as queued, unless something is noted of it: it may have
// ended by now, or this very call's first answer was lost.
func (p *Pipeline) register(ctx context.Context, command flow.Command) error {
	status := CommandStatus{
		Version: Version, ID: command.ID, State: CommandQueued, Verb: command.Verb,
		Service: command.Service, UID: command.User.UID, Queued: time.Now().UTC(),
	}
	err := persist(ctx, func(ctx context.Context) error {
		if err := p.connected(); err != nil {
			return err
		}
		_, err := p.commands.Create(ctx, command.ID, Encode(status))
		return err
	})
	if err != nil && !isConflict(err) {
		return fmt.Errorf("register command %s for service %d: %w", command.ID, command.Service, err)
	}
	return nil
}

// withdraw takes back the registration of a command that was certainly not
// queued. After a lost answer it may be, and the registration stays.
func (p *Pipeline) withdraw(command flow.Command, failure error) error {
	failure = fmt.Errorf("queue command %s: %w", command.ID, failure)
	if transient(failure) || errors.Is(failure, context.Canceled) {
		return failure
	}
	ctx, cancel := context.WithTimeout(context.Background(), attempt)
	defer cancel()
	return errors.Join(failure, p.commands.Purge(ctx, command.ID))
}

// CommandStatus is what became of a command in the last 24 hours; ErrNotFound
// for one that was never submitted or ended longer ago.
func (p *Pipeline) CommandStatus(ctx context.Context, id string) (CommandStatus, error) {
	status, err := p.storedStatus(ctx, id)
	return status.CommandStatus, err
}

// CommandReply is the reply of a command that has ended, to be given again;
// ended is false while it is queued. The errors are CommandStatus's.
func (p *Pipeline) CommandReply(ctx context.Context, id string) (reply Reply, verb flow.Verb, ended bool, err error) {
	status, err := p.storedStatus(ctx, id)
	if err != nil || status.State == CommandQueued {
		return Reply{}, status.Verb, false, err
	}
	return status.reply(), status.Verb, true, nil
}

func (p *Pipeline) storedStatus(ctx context.Context, id string) (storedStatus, error) {
	text, err := getText(ctx, p.commands, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		return storedStatus{}, fmt.Errorf("command %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return storedStatus{}, fmt.Errorf("look up command %s: %w", id, err)
	}
	var status storedStatus
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return storedStatus{}, fmt.Errorf("look up command %s: its status cannot be read: %w", id, err)
	}
	if status.ID != id {
		return storedStatus{}, fmt.Errorf("command %s: %w", id, ErrNotFound) // a reservation
	}
	return status, nil
}

// FinishCommand answers who waits for a command at replyTo, if anybody does, and then
// stores what became of it: what the reply tells is durable in the service's record, and
// who waits need not wait for the disk once more. Until FinishCommand returns nil it is
// to be done again; that is harmless, since the first reply counts.
func (p *Pipeline) FinishCommand(ctx context.Context, replyTo string, status CommandStatus, reply Reply) error {
	status.Version, reply.Version = Version, Version
	p.reply(replyTo, reply)
	if err := putText(ctx, p.commands, status.ID, string(Encode(storedStatus{status, reply.Refused}))); err != nil {
		return fmt.Errorf("finish command %s: %w", status.ID, err)
	}
	return nil
}

func (p *Pipeline) reply(to string, reply Reply) {
	if !isInbox(to) {
		return
	}
	if err := p.conn.Publish(to, Encode(reply)); err != nil {
		// Who waits will look the status up.
		p.log.Warn("a command's reply was not sent", "command", reply.Command, "error", err)
	}
}

// isInbox keeps replies away from our own streams and the server's, whatever
// stands in a message's header.
func isInbox(subject string) bool {
	if checkSubject(subject) != nil || strings.ContainsAny(subject, "*>") {
		return false
	}
	for _, reserved := range []string{"one.", "flow.", "$"} {
		if strings.HasPrefix(subject, reserved) {
			return false
		}
	}
	return true
}

// inbox is one subscription for all replies that a pipeline waits for.
type inbox struct {
	prefix       string
	subscription *nats.Subscription

	mu      sync.Mutex
	waiting map[string]chan Reply
}

func openInbox(conn *nats.Conn) (*inbox, error) {
	i := &inbox{prefix: conn.NewInbox() + ".", waiting: map[string]chan Reply{}}
	var err error
	i.subscription, err = conn.Subscribe(i.prefix+"*", i.deliver)
	return i, err
}

// expect opens an address for one reply. The reply comes on the channel at
// most once; forget closes the address.
func (i *inbox) expect() (address string, replies <-chan Reply, forget func()) {
	name, channel := nuid.Next(), make(chan Reply, 1)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting[name] = channel
	return i.prefix + name, channel, func() { i.take(name) }
}

// take hands out who waits at the address, once.
func (i *inbox) take(name string) chan Reply {
	i.mu.Lock()
	defer i.mu.Unlock()
	channel := i.waiting[name]
	delete(i.waiting, name)
	return channel
}

func (i *inbox) deliver(message *nats.Msg) {
	var reply Reply
	if json.Unmarshal(message.Data, &reply) != nil {
		return
	}
	if channel := i.take(strings.TrimPrefix(message.Subject, i.prefix)); channel != nil {
		channel <- reply
	}
}

func (i *inbox) close() {
	if i != nil && i.subscription != nil {
		_ = i.subscription.Unsubscribe()
	}
}
