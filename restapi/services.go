package restapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/command"
)

type services struct {
	*commands
	shared    *reservations
	ownership *ownership
	vms       *vmActions
}

// readScale reads a role's new cardinality. OneFlow has no role without a name.
func readScale(r *request) (flow.Verb, any, error) {
	body, err := r.object()
	if err != nil {
		return "", nil, err
	}
	role, roleErr := body.text("role_name")
	cardinality, cardinalityErr := body.whole("cardinality")
	force, forceErr := body.flag("force")
	const like = `the body must look like {"role_name": "Master", "cardinality": 2, "force": false}`
	if err := cmp.Or(cardinalityErr, forceErr); err != nil {
		return "", nil, badRequest("scale: %v; %s", err, like)
	}
	if roleErr != nil {
		return "", nil, ownFailure(http.StatusBadRequest, "scale: %v; %s", roleErr, like)
	}
	return flow.VerbScale, flow.ScaleArguments{Role: role, Cardinality: cardinality, Force: force}, nil
}

// readUpdate reads a new template for the service, or with {"append": true, "template": T} the attributes to set, where T
// is an object or a text of one.
func readUpdate(r *request) (flow.Verb, any, error) {
	body, err := r.object()
	if err != nil {
		return "", nil, err
	}
	arguments := flow.UpdateArguments{Template: r.text}
	if body.has("append") || body.has("template") {
		if arguments.Append, err = body.flag("append"); err != nil {
			return "", nil, err
		}
		arguments.Template, err = body.objectOrText("template")
	}
	return flow.VerbUpdate, arguments, err
}

func readRoleChange(r *request) (flow.Verb, any, error) {
	perform, params, err := r.action()
	if err != nil {
		return "", nil, err
	}
	switch perform {
	case "add_role":
		role, err := params.objectOrText("role")
		return flow.VerbAddRole, flow.AddRoleArguments{Role: role}, err
	case "remove_role":
		name, err := params.text("role")
		return flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: name}, err
	}
	return "", nil, badRequest("role action %q is not supported; supported are add_role, remove_role", perform)
}

// clientError are the actions whose bad parameters OneFlow answers with 500.
var clientError = []string{"rename", "chmod", "chown", "chgrp"}

// act does not answer 400 where OneFlow answers an unknown action, or a missing parameter, with 500 and a text.
func (s *services) act(ctx context.Context, r *request) (answer, error) {
	name, params, err := r.action()
	if errors.Is(err, errNoPerform) {
		err = ownFailure(http.StatusBadRequest, "%s", err)
	}
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	actions := map[string]documentAction{
		"recover": s.recover, release: s.release(""),
		"rename": s.shared.alone(rename), "chmod": s.shared.alone(chmod),
		"chown": s.shared.alone(giving(s.ownership.change, true)), "chgrp": s.shared.alone(giving(s.ownership.change, false)),
	}
	for _, perform := range schema.VMActions {
		actions[perform] = s.vms.scheduling(perform, "")
	}
	perform, known := actions[name]
	if !known {
		return answer{}, unsupported(http.StatusInternalServerError, "service", name, actions)
	}
	reply, err := perform(ctx, r, document, params)
	wrong, is := errors.AsType[*statusError](err)
	if is && !r.own && slices.Contains(clientError, name) && wrong.status == http.StatusBadRequest && wrong != errNoDryRun {
		err = failure(http.StatusInternalServerError, "%s: %s", name, wrong.message)
	}
	return reply, err
}

func (s *services) recover(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
	remove, err := params.flag("delete")
	if err != nil {
		return answer{}, err
	}
	return s.run(ctx, r, document, flow.VerbRecover, flow.RecoverArguments{Delete: remove})
}

// purgeDone deletes the documents of services that have ended, as far as the caller may. Flowjet leaves none; OneFlow did.
func purgeDone(ctx context.Context, r *request) (answer, error) {
	services, err := r.list(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	var failures []error
	for _, service := range services {
		if body, _, err := spec.ReadService(service.Body); err != nil || (spec.Service{Body: body}).State() != spec.ServiceDone {
			continue
		}
		err := r.oned.DeleteDocument(ctx, service.ID)
		if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) && !opennebula.IsCode(err, opennebula.CodeAuthorization) {
			failures = append(failures, fmt.Errorf("delete the document of service %d: %w", service.ID, err))
		}
	}
	return done, together(failures...)
}

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

// changing returns an endpoint for requests whose change read reads.
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

// run sends a command to the service's worker, and waits for the reply. Without one in time the command stays queued, and
// the answer names the path where its outcome can be read.
func (c *commands) run(ctx context.Context, r *request, service opennebula.Document, verb flow.Verb, arguments any) (answer, error) {
	if err := r.mayManage(ctx, service); err != nil {
		return answer{}, err
	}
	if err := c.available(); err != nil {
		return answer{}, err
	}
	command := r.newCommand(service.ID, verb, arguments)
	command.Seen = &flow.SeenDocument{Digest: spec.DigestOf(service.Body), Owner: service.Owner}
	var err error
	if command.IfMatch, err = r.tags(ifMatch); err != nil {
		return answer{}, err
	}
	if r.dryRun {
		plan, err := c.planner.plan(ctx, r, service, command)
		plan.etag = service.ETag() // with If-Match the change is made to the planned document, or not at all
		return plan, err
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
	// A service that existed when it was read, and is missing when it is undeployed, has gone, as requested.
	if reply.Refused == "" || verb == flow.VerbUndeploy && reply.Refused == flow.RefusedMissing {
		return done, nil
	}
	return answer{}, refused(reply.Refused, reply.Message)
}

// submit queues a command, within the bounds of the backlog, or resumes the one that an earlier request with the same key
// has queued. Without the worker's answer in time the error is pipeline.ErrNoReply.
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
	// commandLife is how long a command's status is kept, and how long a command without news is waited for.
	commandLife = 24 * time.Hour
	// followPause is between two attempts to follow the commands.
	followPause = time.Second
)

// backlog has the commands of all APIs that wait for their workers, and bounds them. It counts its own at once and reads
// the others' from JetStream a moment later, so all APIs together may exceed the bound by the commands of that moment.
type backlog struct {
	all, ofUser int

	mu      sync.Mutex
	waiting map[string]waitingCommand
}

type waitingCommand struct {
	uid   int
	since time.Time
}

// enter adds a command of this API, or refuses it when too many wait.
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
	switch {
	case own >= b.ofUser:
		return busy(http.StatusTooManyRequests, 2*time.Second, "%d of your commands are already queued; try again when some have been executed", b.ofUser)
	case len(b.waiting) >= b.all && own >= b.all/100: // a few users must not fill it for all
		return busy(http.StatusTooManyRequests, 2*time.Second, "%d commands are already queued; try again when some have been executed", b.all)
	}
	b.waiting[id] = waitingCommand{uid, time.Now()}
	return nil
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
		err := commands.FollowCommands(ctx, b.note)
		if ctx.Err() != nil || errors.Is(err, pipeline.ErrClosed) {
			return
		}
		logger.Warn("the commands of other APIs cannot be counted, retrying; this API counts only its own", "error", err)
		_ = idle.For(ctx, followPause) // it ends with ctx
	}
}

func (b *backlog) note(change command.Change) {
	if !change.Waiting {
		b.leave(change.ID)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[change.ID] = waitingCommand{change.UID, change.Since}
}
