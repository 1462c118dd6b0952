package restapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// updateService replaces the service's template, or with {"append": true,
// "template": T} sets the attributes of T, an object or a text of one.
func (s *Server) updateService(ctx context.Context, r *request) (answer, error) {
	arguments, err := r.updateArguments()
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, flow.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.command(ctx, r, document, flow.VerbUpdate, arguments)
}

func (r *request) updateArguments() (flow.UpdateArguments, error) {
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
func (s *Server) changeRoles(ctx context.Context, r *request) (answer, error) {
	asked, err := r.action()
	if err != nil {
		return answer{}, err
	}
	verb, arguments, err := roleChange(asked)
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, flow.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.command(ctx, r, document, verb, arguments)
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

func (s *Server) releaseService(ctx context.Context, r *request, service opennebula.Document, _ attributes) (answer, error) {
	return s.command(ctx, r, service, flow.VerbRelease, flow.ReleaseArguments{})
}

// purgeDone deletes the documents of services that have ended, as far as the
// caller may. Flowjet leaves none behind; OneFlow did.
func (s *Server) purgeDone(ctx context.Context, r *request) (answer, error) {
	services, err := r.oned.Documents(ctx, flow.DocumentTypeService, allVisible, -1, -1)
	if err != nil {
		return answer{}, fmt.Errorf("list services: %w", err)
	}
	var failures []error
	for _, service := range services {
		if body, err := flow.ParseBody(service.Body); err != nil || body.State == nil || *body.State != flow.ServiceDone {
			continue
		}
		err := r.oned.DeleteDocument(ctx, service.ID)
		if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) && !opennebula.IsCode(err, opennebula.CodeAuthorization) {
			failures = append(failures, fmt.Errorf("delete the document of service %d: %w", service.ID, err))
		}
	}
	return done, together(failures...)
}

// conflicting gives an error of OneFlow's API, where it is a 500 for clients
// that know it so, its right status under /flowjet/v1.
func (r *request) conflicting(err error, status int) error {
	var known *statusError
	if r.own && errors.As(err, &known) && known.status == http.StatusInternalServerError {
		return &statusError{status, known.message}
	}
	return err
}
