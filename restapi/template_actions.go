package restapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/opennebula"
)

// documentAction carries out an action on a document that the caller may see.
type documentAction func(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error)

func (t *templates) act(ctx context.Context, r *request) (answer, error) {
	asked, err := r.action()
	if err != nil {
		return answer{}, err
	}
	actions := map[string]documentAction{
		"instantiate": t.instantiate, "clone": t.clone, "update": t.shared.alone(t.update),
		"rename": t.shared.alone(rename), "chmod": t.shared.alone(chmod),
		"chown": t.shared.alone(chown(changeTemplate)), "chgrp": t.shared.alone(chgrp(changeTemplate)),
	}
	perform, known := actions[asked.perform]
	if !known {
		return answer{}, unsupported(http.StatusBadRequest, "service template", asked.perform, actions)
	}
	document, err := r.document(ctx, spec.DocumentTypeServiceTemplate)
	if err != nil {
		return answer{}, err
	}
	return perform(ctx, r, document, asked.params)
}

// unsupported is the error for an unknown action; it lists the known ones.
func unsupported(status int, kind, perform string, actions map[string]documentAction) error {
	return &statusError{status, fmt.Sprintf("action %q of a %s is not supported; supported are %s",
		perform, kind, strings.Join(slices.Sorted(maps.Keys(actions)), ", "))}
}

// maxCarried bounds the service that a command carries to its worker; a larger one is read. It
// stays in NATS for days, and a short request can make a large service.
const maxCarried = 16 << 10

// instantiate creates the service's document as the caller and queues its
// deployment. The answer waits until the command is stored, not until it is
// carried out. Should the command get lost on the way, the service is PENDING
// in oned, where the workers' scan finds it.
func (t *templates) instantiate(ctx context.Context, r *request, held opennebula.Document, params attributes) (answer, error) {
	var given json.RawMessage
	if params.has("merge_template") {
		given = params["merge_template"]
	}
	body, err := template.Instantiate(held.Body, given, time.Now())
	if err != nil {
		return answer{}, fmt.Errorf("instantiate service template %d: %w", held.ID, err)
	}
	if err := t.commands.available(); err != nil {
		return answer{}, err
	}
	if r.dryRun() {
		imagined := opennebula.Document{Owner: r.caller.Identity, Type: spec.DocumentTypeService, Name: body.Name, Body: encodeBody(body)}
		return t.commands.planner.plan(ctx, r, imagined, r.newCommand(0, flow.VerbDeploy))
	}
	id, err := r.keyed.allocate(ctx, r.oned, spec.DocumentTypeService, body.Name, body)
	if err != nil {
		return answer{}, fmt.Errorf("create the service of service template %d: %w", held.ID, err)
	}
	// A client that goes away now must not leave a service without its command.
	ctx = context.WithoutCancel(ctx)
	// It is shown as it began, before it is queued; a read that fails must not keep the
	// command back.
	service, err := t.newborn.service(ctx, r, id, body)
	var arguments any
	if err == nil && len(service.Body) <= maxCarried {
		arguments = flow.DeployArguments{Owner: service.Owner, Body: service.Body}
	}
	if err = together(err, t.commands.enqueue(ctx, r, id, flow.VerbDeploy, arguments)); err != nil {
		return answer{}, &pendingError{service: id, err: err}
	}
	return show(http.StatusCreated, service)
}

// clone copies a template under another name. The copy is registered now, which
// one.document.clone could not do.
func (t *templates) clone(ctx context.Context, r *request, template opennebula.Document, params attributes) (answer, error) {
	name, err := params.text("name")
	if err != nil {
		return answer{}, err
	}
	far := params.recursive("recursive")
	parsed, err := spec.ParseBody(template.Body)
	if err != nil {
		return answer{}, fmt.Errorf("clone service template %d: %w", template.ID, err)
	}
	parsed.RegistrationTime = time.Now().Unix()
	if id, found, err := r.keyed.made(ctx, r.oned, spec.DocumentTypeServiceTemplate); err != nil {
		return answer{}, err
	} else if found {
		return showNew(ctx, r, id, http.StatusCreated)
	}
	undo, err := cloneVMTemplates(ctx, r, &parsed, name, far)
	if err != nil {
		return answer{}, together(fmt.Errorf("clone service template %d: %w", template.ID, err), putBack(ctx, undo))
	}
	reply, err := newTemplate(ctx, r, name, parsed)
	if err != nil && !opennebula.Ambiguous(err) {
		err = together(err, putBack(ctx, undo))
	}
	return reply, err
}

// update sets attributes (append) or replaces the whole body. The JSON is in template_json or
// template_raw, as a text or as it is.
func (t *templates) update(ctx context.Context, r *request, held opennebula.Document, params attributes) (answer, error) {
	text := params["template_json"]
	if !params.has("template_json") {
		text = params["template_raw"]
	}
	if !params.has("template_json") && !params.has("template_raw") {
		return answer{}, badRequest(`"template_json" is missing; it must be the attributes to set, as a JSON object in a string`)
	}
	var inString string
	if json.Unmarshal(text, &inString) == nil {
		text = []byte(inString)
	}
	appendTo, err := params.flag("append")
	if err != nil {
		return answer{}, err
	}
	change := template.Replace
	if appendTo {
		change = template.Append
	}
	body, err := change(held.Body, text, time.Now())
	if err != nil {
		return answer{}, fmt.Errorf("update service template %d: %w", held.ID, err)
	}
	if err := r.oned.UpdateDocument(ctx, held.ID, encodeBody(body)); err != nil {
		return answer{}, fmt.Errorf("update service template %d: %w", held.ID, err)
	}
	reply := done
	reply.warning = t.dropped(held, body)
	return reply, nil
}

func rename(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
	name, err := params.text("name")
	if err != nil {
		return answer{}, err
	}
	if len([]rune(name)) > 128 || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return answer{}, badRequest(`"name" must have at most 128 characters, none of them control characters`)
	}
	return finished(r.oned.RenameDocument(ctx, document.ID, name), "rename", document)
}

func chmod(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
	octet, err := params.octet("octet")
	if err != nil {
		return answer{}, err
	}
	return finished(r.oned.ChmodDocument(ctx, document.ID, octet), "change the permissions of", document)
}

func changeTemplate(ctx context.Context, r *request, document opennebula.Document, uid, gid int) error {
	return r.oned.ChownDocument(ctx, document.ID, uid, gid)
}

// finished is the answer after a call that has nothing to say.
func finished(err error, what string, document opennebula.Document) (answer, error) {
	if err != nil {
		return answer{}, fmt.Errorf("%s %s %d: %w", what, kindNames[document.Type], document.ID, err)
	}
	return done, nil
}

// newborn shows services that were just made without reading them back. All that oned adds
// to what it was told is the caller and the permissions that the caller's umask leaves,
// and these are as they were for the last service, which is remembered for a minute.
type newborn struct {
	mutex sync.Mutex
	last  map[string]made // by whom calls are made for
}

// made is a user's last service, without its body.
type made struct {
	service opennebula.Document
	until   time.Time
}

const (
	trustMade = time.Minute
	maxMade   = 10_000
)

// service returns a service that the request has just made. One that an earlier attempt of
// the same request may have made is read.
func (n *newborn) service(ctx context.Context, r *request, id int, body spec.Body) (opennebula.Document, error) {
	who := r.caller.target()
	n.mutex.Lock()
	last := n.last[who]
	n.mutex.Unlock()
	service, owner := last.service, last.service.Owner
	if r.keyed == nil && time.Now().Before(last.until) && owner.UID == r.caller.Identity.UID && owner.GID == r.caller.EffectiveGID {
		service.ID, service.Name, service.Body = id, body.Name, encodeBody(body)
		return service, nil
	}
	service, err := r.read(ctx, spec.DocumentTypeService, id)
	if err != nil {
		return service, err
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.last == nil || len(n.last) >= maxMade {
		n.last = map[string]made{}
	}
	last = made{service, time.Now().Add(trustMade)}
	last.service.Body = nil
	n.last[who] = last
	return service, nil
}
