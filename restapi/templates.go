package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/flowjet/flowjet/pipeline"
)

const allVisible = -2

type templates struct {
	commands *commands
	shared   *reservations
	logger   *slog.Logger
	newborn  newborn
}

func (t *templates) create(ctx context.Context, r *request) (answer, error) {
	body, err := template.Read(r.text, time.Now())
	if err != nil {
		return answer{}, err
	}
	return newTemplate(ctx, r, body.Name, body)
}

func newTemplate(ctx context.Context, r *request, name string, body spec.Body) (answer, error) {
	id, err := r.keyed.allocate(ctx, r.oned, spec.DocumentTypeServiceTemplate, name, body)
	if err != nil {
		return answer{}, fmt.Errorf("create service template %q: %w", name, err)
	}
	return showNew(ctx, r, id, http.StatusCreated)
}

func showNew(ctx context.Context, r *request, id, status int) (answer, error) {
	document, err := r.read(ctx, spec.DocumentTypeServiceTemplate, id)
	if err != nil {
		return answer{}, err
	}
	return show(status, document)
}

func (t *templates) replace(ctx context.Context, r *request, held opennebula.Document, _ attributes) (answer, error) {
	body, err := template.Replace(held.Body, r.text, time.Now())
	if _, is := errors.AsType[*template.ImmutableError](err); is {
		// OneFlow answers this one with 500, and clients expect it.
		return answer{}, failure(http.StatusInternalServerError, "%s", err.Error())
	}
	if err != nil {
		return answer{}, err
	}
	warning, err := t.store(ctx, r, held, body)
	if err != nil {
		return answer{}, err
	}
	reply, err := showNew(ctx, r, held.ID, http.StatusOK)
	reply.warning = warning
	return reply, err
}

// store writes a template's new body, and warns of Flowjet's attributes that it no longer has.
func (t *templates) store(ctx context.Context, r *request, held opennebula.Document, body spec.Body) (warning string, err error) {
	if err := r.oned.UpdateDocument(ctx, held.ID, encodeBody(body)); err != nil {
		return "", fmt.Errorf("update service template %d: %w", held.ID, err)
	}
	names := strings.Join(template.DroppedExtensions(held.Body, body), ", ")
	if names == "" {
		return "", nil
	}
	t.logger.Warn("a service template was replaced by a client that omitted attributes of Flowjet", "template", held.ID, "dropped", names)
	return "the template no longer has " + names + ": use append, or include them", nil
}

// delete removes a template and, on request, the templates and images of its roles, which go first: if that fails, the
// template still exists for another attempt. {"delete_type": "none"} says how far it goes. A body of another kind, such as
// goca's null, requests nothing.
func (t *templates) delete(ctx context.Context, r *request) (answer, error) {
	if _, err := template.CheckNesting(r.text); err != nil {
		return answer{}, err
	}
	var body attributes
	_ = json.Unmarshal(r.text, &body) // an unreadable body names no attribute
	far, err := body.deletes("delete_type")
	if err != nil {
		return answer{}, err
	}
	return about(spec.DocumentTypeServiceTemplate, t.shared.alone(func(ctx context.Context, r *request, document opennebula.Document, _ attributes) (answer, error) {
		if err := deleteVMTemplates(ctx, r.oned, document, far); err != nil {
			return answer{}, fmt.Errorf("delete service template %d: %w", document.ID, err)
		}
		return finished(r.oned.DeleteDocument(ctx, document.ID), "delete", document)
	}))(ctx, r)
}

type documentAction func(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error)

// about returns the endpoint of an action, without parameters, on the document that the path names.
func about(documentType int, act documentAction) endpoint {
	return func(ctx context.Context, r *request) (answer, error) {
		document, err := r.document(ctx, documentType)
		if err != nil {
			return answer{}, err
		}
		return act(ctx, r, document, nil)
	}
}

func (t *templates) act(ctx context.Context, r *request) (answer, error) {
	name, params, err := r.action()
	if err != nil {
		return answer{}, err
	}
	actions := map[string]documentAction{
		"instantiate": t.instantiate, "clone": t.clone, "update": t.shared.alone(t.update),
		"rename": t.shared.alone(rename), "chmod": t.shared.alone(chmod),
		"chown": t.shared.alone(giving(changeTemplate, true)), "chgrp": t.shared.alone(giving(changeTemplate, false)),
	}
	perform, known := actions[name]
	if !known {
		return answer{}, unsupported(http.StatusBadRequest, "service template", name, actions)
	}
	document, err := r.document(ctx, spec.DocumentTypeServiceTemplate)
	if err != nil {
		return answer{}, err
	}
	return perform(ctx, r, document, params)
}

// unsupported returns the error for an unknown action, with OneFlow's status; it lists the known ones.
func unsupported(status int, kind, perform string, actions map[string]documentAction) error {
	known := strings.Join(slices.Sorted(maps.Keys(actions)), ", ")
	err := ownFailure(http.StatusBadRequest, "action %q of a %s is not supported; supported are %s", perform, kind, known)
	err.status = status
	return err
}

// maxCarried bounds the service that a command carries to its worker, which reads a larger one: the command stays in NATS
// for days, and a short request can make a large service.
const maxCarried = 16 << 10

// instantiate creates the service's document as the caller and queues its deployment. The answer waits until the command is
// stored, not until it is carried out. If the command is lost, the service is PENDING in oned, where the workers' scan
// finds it.
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
	if r.dryRun {
		imagined := opennebula.Document{Owner: r.caller.Identity, Type: spec.DocumentTypeService, Name: body.Name, Body: encodeBody(body)}
		return t.commands.planner.plan(ctx, r, imagined, r.newCommand(0, flow.VerbDeploy, nil))
	}
	id, err := r.keyed.allocate(ctx, r.oned, spec.DocumentTypeService, body.Name, body)
	if err != nil {
		return answer{}, fmt.Errorf("create the service of service template %d: %w", held.ID, err)
	}
	// A client that disconnects now must not leave a service without its command.
	ctx = context.WithoutCancel(ctx)
	// The answer shows the service as it began, so it is built before the service is queued; a failed read must not keep
	// the command back.
	service, err := t.newborn.service(ctx, r, id, body)
	var arguments any
	if err == nil && len(service.Body) <= maxCarried {
		arguments = flow.DeployArguments{Owner: service.Owner, Body: service.Body}
	}
	_, queueErr := t.commands.submit(ctx, r, r.newCommand(id, flow.VerbDeploy, arguments), 0)
	if errors.Is(queueErr, pipeline.ErrNoReply) {
		queueErr = nil // it is stored
	}
	if err = together(err, queueErr); err != nil {
		return answer{}, &pendingError{service: id, err: err}
	}
	return show(http.StatusCreated, service)
}

// clone copies a template under another name. The copy is registered now, which one.document.clone could not do.
func (t *templates) clone(ctx context.Context, r *request, template opennebula.Document, params attributes) (answer, error) {
	name, err := params.name("name")
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

// update sets attributes (append) or replaces the whole body. The JSON is in template_json or template_raw, as a text or as
// it is.
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
	reply := done
	reply.warning, err = t.store(ctx, r, held, body)
	return reply, err
}

func rename(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
	name, err := params.name("name")
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

func finished(err error, what string, document opennebula.Document) (answer, error) {
	if err != nil {
		return answer{}, fmt.Errorf("%s %s %d: %w", what, kindNames[document.Type], document.ID, err)
	}
	return done, nil
}

// newborn shows services that were just made without reading them back. oned adds only the caller and the permissions that
// the caller's umask leaves. They are the same as for the caller's last service, which is remembered for a minute.
type newborn struct {
	mutex sync.Mutex
	last  map[string]made // by the user for whom calls are made
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

// service returns a service that the request has just made. A service that an earlier attempt at the request may have made
// is read.
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

// reach is how far cloning or deleting a service template goes.
type reach string

const (
	reachNone reach = "none"
	// reachTemplates includes the roles' VM templates.
	reachTemplates reach = "templates"
	// reachAll also includes the VM templates' images.
	reachAll reach = "all"
)

// cloneVMTemplates copies each VM template once and points the roles to the copies. It returns the functions that undo it.
func cloneVMTemplates(ctx context.Context, r *request, body *spec.Body, name string, far reach) ([]func(context.Context) error, error) {
	if far == reachNone {
		return nil, nil
	}
	images := far == reachAll
	before, err := copiedBefore(ctx, r)
	if err != nil {
		return nil, err
	}
	copies := map[int]int{}
	var undo []func(context.Context) error
	for i := range body.Roles {
		role := &body.Roles[i]
		copied, known := copies[role.TemplateID]
		if !known {
			original, err := r.oned.VMTemplate(ctx, role.TemplateID)
			if err != nil {
				return undo, fmt.Errorf("role %s: read VM template %d: %w", role.Name, role.TemplateID, err)
			}
			copyName := original.Name + "-" + name // as OneFlow calls it
			if copied, known = before[copyName]; !known {
				if copied, err = r.oned.CloneVMTemplate(ctx, role.TemplateID, copyName, images); err != nil {
					return undo, fmt.Errorf("role %s: clone VM template %d: %w", role.Name, role.TemplateID, err)
				}
			}
			copies[role.TemplateID] = copied
			undo = append(undo, func(ctx context.Context) error { return r.oned.DeleteVMTemplate(ctx, copied, images) })
		}
		role.TemplateID = copied
	}
	return undo, nil
}

const clocksApart = time.Minute

// copiedBefore returns the caller's VM templates, by name, that an earlier attempt at this request may have made: a user
// has each name only once, so oned would refuse another copy of that name.
func copiedBefore(ctx context.Context, r *request) (map[string]int, error) {
	if !r.keyed.repeated() {
		return nil, nil
	}
	own, err := r.oned.VMTemplates(ctx, ownOnly)
	if err != nil {
		return nil, fmt.Errorf("look for the copies of the first request: %w", err)
	}
	before := map[string]int{}
	for _, template := range own {
		if template.Registered.After(r.keyed.began.Add(-clocksApart)) {
			before[template.Name] = template.ID
		}
	}
	return before, nil
}

// deleteVMTemplates removes each VM template once. A missing template is no error.
func deleteVMTemplates(ctx context.Context, oned session, template opennebula.Document, far reach) error {
	if far == reachNone {
		return nil
	}
	body, err := spec.ParseBody(template.Body)
	if err != nil {
		return fmt.Errorf("find its VM templates: %w", err)
	}
	deleted := map[int]bool{}
	for _, role := range body.Roles {
		if deleted[role.TemplateID] {
			continue
		}
		deleted[role.TemplateID] = true
		err := oned.DeleteVMTemplate(ctx, role.TemplateID, far == reachAll)
		if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
			return fmt.Errorf("delete VM template %d: %w", role.TemplateID, err)
		}
	}
	return nil
}
