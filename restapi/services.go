package restapi

import (
	"context"
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
	locks     locks
	ownership *ownership
	vms       *vmActions
	rendered  *memo[[]byte]
}

func (s *services) calls() map[string]endpoint {
	return map[string]endpoint{
		"GET /service":                   s.list,
		"GET /service/{id}":              s.show,
		"PUT /service/{id}":              s.update,
		"DELETE /service/{id}":           s.undeploy,
		"POST /service/{id}/action":      s.act,
		"POST /service/{id}/scale":       s.scale,
		"POST /service/{id}/role_action": s.changeRoles,
		"POST /service_pool/purge_done":  s.purgeDone,
	}
}

func (s *services) list(ctx context.Context, r *request) (answer, error) {
	return listDocuments(ctx, r, spec.DocumentTypeService, s.rendered)
}

func (s *services) show(ctx context.Context, r *request) (answer, error) {
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return showRead(r, document)
}

func (s *services) undeploy(ctx context.Context, r *request) (answer, error) {
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.commands.run(ctx, r, document, flow.VerbUndeploy, nil)
}

func (s *services) scale(ctx context.Context, r *request) (answer, error) {
	body, err := r.object()
	if err != nil {
		return answer{}, err
	}
	arguments, err := scaleArguments(r, body)
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.commands.run(ctx, r, document, flow.VerbScale, arguments)
}

// scaleArguments reads what is scaled how far. OneFlow knows no role of no name.
func scaleArguments(r *request, body attributes) (flow.ScaleArguments, error) {
	role, roleErr := body.text("role_name")
	cardinality, cardinalityErr := body.whole("cardinality")
	force, forceErr := body.flag("force")
	arguments := flow.ScaleArguments{Role: role, Cardinality: cardinality, Force: force}
	const like = `the body must look like {"role_name": "Master", "cardinality": 2, "force": false}`
	for _, err := range []error{cardinalityErr, forceErr} {
		if err != nil {
			return arguments, badRequest("scale: %v; %s", err, like)
		}
	}
	if roleErr != nil {
		unknown := &statusError{http.StatusInternalServerError, fmt.Sprintf("scale: %v; %s", roleErr, like)}
		return arguments, r.conflicting(unknown, http.StatusBadRequest)
	}
	return arguments, nil
}

func (s *services) actions() map[string]documentAction {
	actions := map[string]documentAction{
		"recover": s.recover,
		release: func(ctx context.Context, r *request, service opennebula.Document, _ attributes) (answer, error) {
			return s.commands.run(ctx, r, service, flow.VerbRelease, flow.ReleaseArguments{})
		},
		"rename": s.locks.alone(rename), "chmod": s.locks.alone(chmod), "chown": s.locks.alone(s.ownership.chown), "chgrp": s.locks.alone(s.ownership.chgrp),
	}
	for _, perform := range schema.VMActions {
		actions[perform] = func(ctx context.Context, r *request, service opennebula.Document, params attributes) (answer, error) {
			return s.vms.schedule(ctx, r, service, perform, params, nil)
		}
	}
	return actions
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
	actions := s.actions()
	perform, known := actions[asked.perform]
	if !known {
		return answer{}, r.conflicting(unsupported(http.StatusInternalServerError, "service", asked.perform, actions), http.StatusBadRequest)
	}
	reply, err := perform(ctx, r, document, asked.params)
	var wrong *statusError
	if !r.own && slices.Contains(clientError, asked.perform) && errors.As(err, &wrong) && wrong.status == http.StatusBadRequest && wrong != errNoDryRun {
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
	arguments, err := updateArguments(r)
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.commands.run(ctx, r, document, flow.VerbUpdate, arguments)
}

func updateArguments(r *request) (flow.UpdateArguments, error) {
	text, err := r.body()
	if err != nil {
		return flow.UpdateArguments{}, err
	}
	body, err := readAttributes("the body", text)
	if err != nil || !body.has("append") && !body.has("template") {
		return flow.UpdateArguments{Template: text}, err
	}
	var arguments flow.UpdateArguments
	if arguments.Append, err = body.flag("append"); err != nil {
		return arguments, err
	}
	arguments.Template, err = body.objectOrText("template")
	return arguments, err
}

// changeRoles adds a role to a service or removes one.
func (s *services) changeRoles(ctx context.Context, r *request) (answer, error) {
	asked, err := r.action()
	if err != nil {
		return answer{}, err
	}
	verb, arguments, err := roleChange(asked)
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.commands.run(ctx, r, document, verb, arguments)
}

func roleChange(asked action) (flow.Verb, any, error) {
	switch asked.perform {
	case "add_role":
		role, err := asked.params.objectOrText("role")
		return flow.VerbAddRole, flow.AddRoleArguments{Role: role}, err
	case "remove_role":
		name, err := asked.params.text("role")
		return flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: name}, err
	}
	return "", nil, badRequest("role action %q is not supported; supported are add_role, remove_role", asked.perform)
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
