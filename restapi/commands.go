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
	command := newCommand(r.caller, service.ID, verb)
	command.Arguments = encoded
	ctx, cancel := context.WithTimeout(ctx, storeTimeout+s.config.ReplyWait)
	defer cancel()
	reply, err := s.queue.SubmitCommand(ctx, command, s.config.ReplyWait)
	if errors.Is(err, pipeline.ErrNoReply) {
		return queued(command), nil
	}
	if err != nil {
		return answer{}, &queueError{fmt.Errorf("%s service %d: %w", verb, service.ID, err)}
	}
	if verb == flow.VerbUndeploy && reply.Refused == flow.RefusedMissing {
		return done, nil // it was there when it was read: it has gone, as asked
	}
	if reply.Refused != "" {
		return answer{}, &statusError{r.refusalStatus(reply.Refused), reply.Message}
	}
	return done, nil
}

// queueOnly stores a command and does not wait for its worker.
func (s *Server) queueOnly(ctx context.Context, who caller, service int, verb flow.Verb) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := s.queue.SubmitCommand(ctx, newCommand(who, service, verb), 0)
	if err != nil && !errors.Is(err, pipeline.ErrNoReply) {
		return &queueError{fmt.Errorf("%s service %d: %w", verb, service, err)}
	}
	return nil
}

// newCommand has an id that cannot be guessed.
func newCommand(who caller, service int, verb flow.Verb) flow.Command {
	return flow.Command{ID: rand.Text(), Verb: verb, Service: service, User: who.Identity}
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
	return pretty(http.StatusOK, jsonType, status)
}
