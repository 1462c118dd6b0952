package restapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

const storeTimeout = 10 * time.Second

type commands struct {
	queue   queue
	backlog *backlog
	// box seals the secrets in arguments.
	box     *seal.Box
	planner *planner
	// wait is how long a request waits for the worker's answer.
	wait time.Duration
}

// changing answers requests for a change that read reads.
func (c *commands) changing(read func(r *request) (flow.Verb, any, error)) endpoint {
	return func(ctx context.Context, r *request) (answer, error) {
		verb, arguments, err := read(r)
		if err != nil {
			return answer{}, err
		}
		service, err := r.document(ctx, spec.DocumentTypeService)
		if err != nil {
			return answer{}, err
		}
		return c.run(ctx, r, service, verb, arguments)
	}
}

// run has the service's worker carry something out, and waits for its reply. Without one in
// time the command stays queued, and the answer names the path where its outcome can be read.
func (c *commands) run(ctx context.Context, r *request, service opennebula.Document, verb flow.Verb, arguments any) (answer, error) {
	if err := r.mayManage(ctx, service); err != nil {
		return answer{}, err
	}
	command, err := r.newCommand(service.ID, verb, arguments)
	if err != nil {
		return answer{}, err
	}
	if err := c.available(); err != nil {
		return answer{}, err
	}
	command.Seen = &flow.SeenDocument{Digest: spec.DigestOf(service.Body), Owner: service.Owner}
	if command.IfMatch, err = r.tags(ifMatch); err != nil {
		return answer{}, err
	}
	if r.dryRun {
		return c.planner.plan(ctx, r, service, command)
	}
	reply, err := c.submit(ctx, r, command, c.wait)
	if errors.Is(err, pipeline.ErrNoReply) {
		return queued(r, command)
	}
	if err != nil {
		return answer{}, err
	}
	return outcome(verb, reply)
}

func outcome(verb flow.Verb, reply pipeline.Reply) (answer, error) {
	// A service that was there when it was read, and is missing when it is undeployed, has gone, as asked.
	if reply.Refused == "" || verb == flow.VerbUndeploy && reply.Refused == flow.RefusedMissing {
		return done, nil
	}
	return answer{}, refused(reply.Refused, reply.Message)
}

// submit queues a command, within the bounds of the backlog, or resumes the one that an earlier request
// with the same key has queued. Without the worker's answer in time the error is pipeline.ErrNoReply.
func (c *commands) submit(ctx context.Context, r *request, command flow.Command, wait time.Duration) (pipeline.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout+wait)
	defer cancel()
	if err := c.backlog.enter(command.ID, command.User.UID); err != nil {
		return pipeline.Reply{}, err
	}
	command.Arguments = command.SealedArguments(c.box.Seal)
	send := c.queue.SubmitCommand
	if r.keyed.repeated() {
		send = c.queue.ResumeCommand
	}
	reply, err := send(ctx, command, wait)
	if errors.Is(err, pipeline.ErrNoReply) {
		return reply, err
	}
	c.backlog.leave(command.ID)
	if err != nil {
		err = &queueError{fmt.Errorf("%s service %d: %w", command.Verb, command.Service, err)}
	}
	return reply, err
}

// available returns an error while NATS is known to be unreachable, which spares the client the wait.
func (c *commands) available() error {
	if state := c.queue.State(); !state.Connected {
		return &queueError{fmt.Errorf("NATS has been unreachable since %s, so nothing can be changed; try again when it is reachable", state.Since.UTC().Format(time.RFC3339))}
	}
	return nil
}

func queued(r *request, command flow.Command) (answer, error) {
	where := ownPrefix + "/commands/" + command.ID
	text := fmt.Sprintf("%s of service %d is queued and will be executed; the result will be at %s\n", command.Verb, command.Service, where)
	if !r.own {
		return answer{status: http.StatusAccepted, location: where, body: []byte(text)}, nil
	}
	reply, err := pretty(http.StatusAccepted, pipeline.CommandStatus{
		ID: command.ID, State: pipeline.CommandQueued, Verb: command.Verb, Service: command.Service,
		UID: command.User.UID, Queued: time.Now().UTC(), Message: strings.TrimSpace(text),
	})
	reply.location = where
	return reply, err
}

// show returns a command's status to its sender and to administrators. For everybody else the command does not exist.
func (c *commands) show(ctx context.Context, r *request) (answer, error) {
	id := r.PathValue("id")
	status, err := c.queue.CommandStatus(ctx, id)
	hidden := err == nil && status.UID != r.caller.Identity.UID && !r.caller.isAdmin()
	if hidden || errors.Is(err, pipeline.ErrNotFound) {
		return answer{}, failure(http.StatusNotFound, "there is no command %q, or it has expired: commands are kept for 24 hours", id)
	}
	if err != nil {
		return answer{}, &queueError{err}
	}
	return pretty(http.StatusOK, status)
}

const (
	// commandLife is for how long a command's status is kept: what has not been heard of for longer is not waited for.
	commandLife = 24 * time.Hour
	// followPause is between two attempts to follow the commands.
	followPause = time.Second
)

// backlog knows the commands that wait for their workers, of all APIs, and bounds
// them. Its own it knows at once; of the others' it reads in JetStream a moment later,
// so that APIs together may exceed the bound by what arrives at them in that moment.
type backlog struct {
	all, ofUser int

	mu      sync.Mutex
	waiting map[string]waitingCommand
}

type waitingCommand struct {
	uid   int
	since time.Time
}

// enter notes a command of this API, or refuses it when too many wait.
func (b *backlog) enter(id string, uid int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	own := 0
	for id, held := range b.waiting {
		if time.Since(held.since) > commandLife {
			delete(b.waiting, id)
		} else if held.uid == uid {
			own++
		}
	}
	format, bound := "%d of your commands are already queued; try again when some have been executed", b.ofUser
	switch {
	case own < b.ofUser && len(b.waiting) < b.all:
		b.waiting[id] = waitingCommand{uid, time.Now()}
		return nil
	case own < b.ofUser:
		format, bound = "%d commands are already queued; try again when some have been executed", b.all
	}
	return &busyError{http.StatusTooManyRequests, 2 * time.Second, fmt.Sprintf(format, bound)}
}

func (b *backlog) leave(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, id)
}

func (b *backlog) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

func (b *backlog) follow(ctx context.Context, commands queue, logger *slog.Logger) {
	for ctx.Err() == nil {
		err := b.read(ctx, commands)
		if ctx.Err() != nil || errors.Is(err, pipeline.ErrClosed) {
			return
		}
		logger.Warn("the commands of other APIs cannot be counted, retrying; this API counts only its own", "error", err)
		_ = idle.For(ctx, followPause) // it ends with ctx
	}
}

func (b *backlog) read(ctx context.Context, commands queue) error {
	changes, err := commands.ReadCommandChanges(ctx)
	if err != nil {
		return err
	}
	defer changes.Stop()
	for {
		change, err := changes.Next(ctx)
		if err != nil {
			return err
		}
		b.mu.Lock()
		if change.Waiting {
			b.waiting[change.ID] = waitingCommand{change.UID, change.Since}
		} else {
			delete(b.waiting, change.ID)
		}
		b.mu.Unlock()
	}
}
