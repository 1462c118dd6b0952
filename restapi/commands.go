package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
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

// run has the service's worker carry something out, and waits for its
// reply. Without one in time the command stays queued, and the answer names
// the path where its outcome can be read.
func (c *commands) run(ctx context.Context, r *request, service opennebula.Document, verb flow.Verb, arguments any) (answer, error) {
	if err := r.mayManage(ctx, service); err != nil {
		return answer{}, err
	}
	encoded, err := encodeArguments(arguments)
	if err != nil {
		return answer{}, fmt.Errorf("write the arguments of %s: %w", verb, err)
	}
	if err := c.available(); err != nil {
		return answer{}, err
	}
	command := r.newCommand(service.ID, verb)
	command.Arguments = encoded
	command.Seen = &flow.SeenDocument{Digest: spec.DigestOf(service.Body), Owner: service.Owner}
	if command.IfMatch, err = r.ifMatch(); err != nil {
		return answer{}, err
	}
	if r.dryRun() {
		return c.planner.plan(ctx, r, service, command)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout+c.wait)
	defer cancel()
	reply, err := c.submit(ctx, r, command, c.wait)
	if errors.Is(err, pipeline.ErrNoReply) {
		return queued(r, command)
	}
	if err != nil {
		return answer{}, err
	}
	return outcome(r, verb, reply)
}

func outcome(r *request, verb flow.Verb, reply pipeline.Reply) (answer, error) {
	switch {
	case reply.Refused == "":
		return done, nil
	case verb == flow.VerbUndeploy && reply.Refused == flow.RefusedMissing:
		return done, nil // it was there when it was read: it has gone, as asked
	}
	return answer{}, &statusError{r.refusalStatus(reply.Refused), reply.Message}
}

// submit queues a command, within the bounds of the backlog, or resumes the one
// that an earlier request with the same key has queued. Without the worker's answer in time
// the error is pipeline.ErrNoReply.
func (c *commands) submit(ctx context.Context, r *request, command flow.Command, wait time.Duration) (pipeline.Reply, error) {
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

// enqueue stores a command without waiting for its worker.
func (c *commands) enqueue(ctx context.Context, r *request, service int, verb flow.Verb, arguments any) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	command := r.newCommand(service, verb)
	var err error
	if command.Arguments, err = encodeArguments(arguments); err != nil {
		return fmt.Errorf("write the arguments of %s: %w", verb, err)
	}
	if _, err = c.submit(ctx, r, command, 0); errors.Is(err, pipeline.ErrNoReply) {
		return nil
	}
	return err
}

// available returns an error while NATS is known to be unreachable, which spares
// the client the wait.
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

// show returns a command's status to its sender and to administrators. For
// everybody else the command does not exist.
func (c *commands) show(ctx context.Context, r *request) (answer, error) {
	id := r.PathValue("id")
	status, err := c.queue.CommandStatus(ctx, id)
	hidden := err == nil && status.UID != r.caller.Identity.UID && !r.caller.isAdmin()
	if hidden || errors.Is(err, pipeline.ErrNotFound) {
		return answer{}, &statusError{http.StatusNotFound, fmt.Sprintf("there is no command %q, or it has expired: commands are kept for 24 hours", id)}
	}
	if err != nil {
		return answer{}, &queueError{err}
	}
	return pretty(http.StatusOK, status)
}

func encodeArguments(arguments any) (json.RawMessage, error) {
	if arguments == nil {
		return nil, nil
	}
	return json.Marshal(arguments)
}
