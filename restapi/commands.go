package restapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// storeTimeout is how long JetStream may take to store a command.
const storeTimeout = 10 * time.Second

// command has the service's worker carry something out, and waits for what it
// says. Without an answer in time the command stays queued, and the answer says
// where to ask.
func (s *Server) command(ctx context.Context, r *request, service opennebula.Document, verb flow.Verb, arguments any) (answer, error) {
	if err := r.mayManage(ctx, service); err != nil {
		return answer{}, err
	}
	encoded, err := encodeArguments(arguments)
	if err != nil {
		return answer{}, fmt.Errorf("write the arguments of %s: %w", verb, err)
	}
	if err := s.queueIsThere(); err != nil {
		return answer{}, err
	}
	command := r.newCommand(service.ID, verb)
	command.Arguments = encoded
	if command.IfMatch, err = r.ifMatch(); err != nil {
		return answer{}, err
	}
	if r.dryRun() {
		return s.plan(ctx, r, service, command)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout+s.config.ReplyWait)
	defer cancel()
	reply, err := s.submit(ctx, r, command, s.config.ReplyWait)
	if errors.Is(err, pipeline.ErrNoReply) {
		return queued(command), nil
	}
	if err != nil {
		return answer{}, submitError(command, err)
	}
	return r.outcome(verb, reply)
}

// outcome is the answer that a worker's reply makes.
func (r *request) outcome(verb flow.Verb, reply pipeline.Reply) (answer, error) {
	switch {
	case reply.Refused == "":
		return done, nil
	case verb == flow.VerbUndeploy && reply.Refused == flow.RefusedMissing:
		return done, nil // it was there when it was read: it has gone, as asked
	}
	return answer{}, &statusError{r.refusalStatus(reply.Refused), reply.Message}
}

// submit queues a command, within the bounds of what may wait, and goes on with
// one that an earlier request with the same key may have queued.
func (s *Server) submit(ctx context.Context, r *request, command flow.Command, wait time.Duration) (pipeline.Reply, error) {
	if err := s.backlog.enter(command.ID, command.User.UID); err != nil {
		return pipeline.Reply{}, err
	}
	command.Arguments = command.SealedArguments(s.box.Seal)
	send := s.queue.SubmitCommand
	if r.keyed != nil && r.keyed.again {
		send = s.queue.ResumeCommand
	}
	reply, err := send(ctx, command, wait)
	if !errors.Is(err, pipeline.ErrNoReply) {
		s.backlog.leave(command.ID)
	}
	return reply, err
}

func submitError(command flow.Command, err error) error {
	var busy *busyError
	if errors.As(err, &busy) {
		return err
	}
	return &queueError{fmt.Errorf("%s service %d: %w", command.Verb, command.Service, err)}
}

// queueOnly stores a command and does not wait for its worker.
func (s *Server) queueOnly(ctx context.Context, r *request, service int, verb flow.Verb) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	command := r.newCommand(service, verb)
	_, err := s.submit(ctx, r, command, 0)
	if err != nil && !errors.Is(err, pipeline.ErrNoReply) {
		return submitError(command, err)
	}
	return nil
}

// newCommand has an id that cannot be guessed; a request with a key has had its
// id since the key was reserved.
func (r *request) newCommand(service int, verb flow.Verb) flow.Command {
	id := rand.Text()
	if r.keyed != nil {
		id = r.keyed.command
	}
	return flow.Command{ID: id, Verb: verb, Service: service, User: r.caller.Identity}
}

// queueIsThere spares the client the wait for a NATS that is known to be away.
func (s *Server) queueIsThere() error {
	if state := s.queue.State(); !state.Connected {
		return &queueError{fmt.Errorf("NATS has been out of reach since %s, so nothing can be changed; try again when it is back", state.Since.UTC().Format(time.RFC3339))}
	}
	return nil
}

// queued is the answer for a command that nobody has answered yet.
func queued(command flow.Command) answer {
	where := "/flowjet/v1/commands/" + command.ID
	text := fmt.Sprintf("%s of service %d is queued and will be carried out; ask %s\n", command.Verb, command.Service, where)
	return answer{status: http.StatusAccepted, location: where, body: []byte(text)}
}

// showCommand says what became of a command, to who sent it and to
// administrators. For everybody else there is none.
func (s *Server) showCommand(ctx context.Context, r *request) (answer, error) {
	id := r.PathValue("id")
	status, err := s.queue.CommandStatus(ctx, id)
	hidden := err == nil && status.UID != r.caller.Identity.UID && !r.caller.isAdmin()
	if hidden || errors.Is(err, pipeline.ErrNotFound) {
		return answer{}, &statusError{http.StatusNotFound, fmt.Sprintf("there is no command %q, or none any more: they are kept for 24 hours", id)}
	}
	if err != nil {
		return answer{}, &queueError{err}
	}
	return pretty(http.StatusOK, status)
}
