package restapi

import (
	"cmp"
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

type services struct {
	*commands
	shared    *reservations
	ownership *ownership
	vms       *vmActions
}

func readUndeploy(*request) (flow.Verb, any, error) { return flow.VerbUndeploy, nil, nil }

// readScale reads how many VMs a role is to have. OneFlow knows no role of no name.
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
		return "", nil, &statusError{http.StatusInternalServerError, http.StatusBadRequest, fmt.Sprintf("scale: %v; %s", roleErr, like)}
	}
	return flow.VerbScale, flow.ScaleArguments{Role: role, Cardinality: cardinality, Force: force}, nil
}

// readUpdate reads what replaces the service's template, or with {"append": true,
// "template": T} the attributes to set, where T is an object or a text of one.
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
	asked, err := r.action()
	if err != nil {
		return "", nil, err
	}
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

// clientError are the actions whose bad parameters OneFlow answers with 500.
var clientError = []string{"rename", "chmod", "chown", "chgrp"}

// act does not answer 400 where OneFlow answers an action that it
// does not know, or a parameter that is missing, with 500 and a text.
func (s *services) act(ctx context.Context, r *request) (answer, error) {
	asked, err := r.action()
	if errors.Is(err, errNoPerform) {
		err = &statusError{http.StatusInternalServerError, http.StatusBadRequest, err.Error()}
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
	perform, known := actions[asked.perform]
	if !known {
		return answer{}, unsupported(http.StatusInternalServerError, "service", asked.perform, actions)
	}
	reply, err := perform(ctx, r, document, asked.params)
	wrong, is := errors.AsType[*statusError](err)
	if is && !r.own && slices.Contains(clientError, asked.perform) && wrong.status == http.StatusBadRequest && wrong != errNoDryRun {
		err = failure(http.StatusInternalServerError, "%s: %s", asked.perform, wrong.message)
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

// purgeDone deletes the documents of services that have ended, as far as the
// caller may. Flowjet leaves none behind; OneFlow did.
func purgeDone(ctx context.Context, r *request) (answer, error) {
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
