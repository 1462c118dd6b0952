package restapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

// services are the calls on whole services.
type services struct {
	commands  *commands
	shared    *reservations
	ownership *ownership
	vms       *vmActions
}

func (s *services) undeploy(ctx context.Context, r *request) (answer, error) {
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.commands.run(ctx, r, document, flow.VerbUndeploy, nil)
}

// scale sets how many VMs a role has. OneFlow knows no role of no name.
func (s *services) scale(ctx context.Context, r *request) (answer, error) {
	body, err := r.object()
	if err != nil {
		return answer{}, err
	}
	role, roleErr := body.text("role_name")
	cardinality, cardinalityErr := body.whole("cardinality")
	force, forceErr := body.flag("force")
	const like = `the body must look like {"role_name": "Master", "cardinality": 2, "force": false}`
	if err := cmp.Or(cardinalityErr, forceErr); err != nil {
		return answer{}, badRequest("scale: %v; %s", err, like)
	}
	if roleErr != nil {
		unknown := &statusError{http.StatusInternalServerError, fmt.Sprintf("scale: %v; %s", roleErr, like)}
		return answer{}, r.conflicting(unknown, http.StatusBadRequest)
	}
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.commands.run(ctx, r, document, flow.VerbScale, flow.ScaleArguments{Role: role, Cardinality: cardinality, Force: force})
}

// clientError are the actions whose bad parameters OneFlow answers with 500.
var clientError = []string{"rename", "chmod", "chown", "chgrp"}

// act does not answer 400 where OneFlow answers an action that it
// does not know, or a parameter that is missing, with 500 and a text.
func (s *services) act(ctx context.Context, r *request) (answer, error) {
	asked, err := r.action()
	if errors.Is(err, errNoPerform) {
		return answer{}, r.conflicting(&statusError{http.StatusInternalServerError, err.Error()}, http.StatusBadRequest)
	}
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	actions := map[string]documentAction{
		"recover": s.recover,
		release: func(ctx context.Context, r *request, service opennebula.Document, _ attributes) (answer, error) {
			return s.commands.run(ctx, r, service, flow.VerbRelease, flow.ReleaseArguments{})
		},
		"rename": s.shared.alone(rename), "chmod": s.shared.alone(chmod),
		"chown": s.shared.alone(chown(s.ownership.change)), "chgrp": s.shared.alone(chgrp(s.ownership.change)),
	}
	for _, perform := range schema.VMActions {
		actions[perform] = func(ctx context.Context, r *request, service opennebula.Document, params attributes) (answer, error) {
			return s.vms.schedule(ctx, r, service, perform, params, nil)
		}
	}
	perform, known := actions[asked.perform]
	if !known {
		return answer{}, r.conflicting(unsupported(http.StatusInternalServerError, "service", asked.perform, actions), http.StatusBadRequest)
	}
	reply, err := perform(ctx, r, document, asked.params)
	wrong, is := errors.AsType[*statusError](err)
	if is && !r.own && slices.Contains(clientError, asked.perform) && wrong.status == http.StatusBadRequest && wrong != errNoDryRun {
		err = &statusError{http.StatusInternalServerError, asked.perform + ": " + wrong.message}
	}
	return reply, err
}

func (s *services) recover(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
	remove, err := params.flag("delete")
	if err != nil {
		return answer{}, err
	}
	return s.commands.run(ctx, r, document, flow.VerbRecover, flow.RecoverArguments{Delete: remove})
}

// update replaces the service's template, or with {"append": true,
// "template": T} sets the attributes of T, an object or a text of one.
func (s *services) update(ctx context.Context, r *request) (answer, error) {
	text, err := r.body()
	if err != nil {
		return answer{}, err
	}
	body, err := readAttributes("the body", text)
	if err != nil {
		return answer{}, err
	}
	arguments := flow.UpdateArguments{Template: text}
	if body.has("append") || body.has("template") {
		if arguments.Append, err = body.flag("append"); err != nil {
			return answer{}, err
		}
		if arguments.Template, err = body.objectOrText("template"); err != nil {
			return answer{}, err
		}
	}
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.commands.run(ctx, r, document, flow.VerbUpdate, arguments)
}

// changeRoles adds a role to a service or removes one.
func (s *services) changeRoles(ctx context.Context, r *request) (answer, error) {
	asked, err := r.action()
	if err != nil {
		return answer{}, err
	}
	var verb flow.Verb
	var arguments any
	switch asked.perform {
	case "add_role":
		var role json.RawMessage
		role, err = asked.params.objectOrText("role")
		verb, arguments = flow.VerbAddRole, flow.AddRoleArguments{Role: role}
	case "remove_role":
		var name string
		name, err = asked.params.text("role")
		verb, arguments = flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: name}
	default:
		err = badRequest("role action %q is not supported; supported are add_role, remove_role", asked.perform)
	}
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.commands.run(ctx, r, document, verb, arguments)
}

// purgeDone deletes the documents of services that have ended, as far as the
// caller may. Flowjet leaves none behind; OneFlow did.
func (s *services) purgeDone(ctx context.Context, r *request) (answer, error) {
	services, err := r.oned.Documents(ctx, spec.DocumentTypeService, allVisible, -1, -1)
	if err != nil {
		return answer{}, fmt.Errorf("list services: %w", err)
	}
	var failures []error
	for _, service := range services {
		if body, _, err := spec.ReadService(service.Body); err != nil || body.State == nil || *body.State != spec.ServiceDone {
			continue
		}
		err := r.oned.DeleteDocument(ctx, service.ID)
		if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) && !opennebula.IsCode(err, opennebula.CodeAuthorization) {
			failures = append(failures, fmt.Errorf("delete the document of service %d: %w", service.ID, err))
		}
	}
	return done, together(failures...)
}
