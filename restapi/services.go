package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

func (s *Server) listServices(ctx context.Context, r *request) (answer, error) {
	return s.list(ctx, r, flow.DocumentTypeService)
}

func (s *Server) showService(ctx context.Context, r *request) (answer, error) {
	document, err := r.document(ctx, flow.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.showRead(r, document)
}

func (s *Server) undeploy(ctx context.Context, r *request) (answer, error) {
	document, err := r.document(ctx, flow.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.command(ctx, r, document, flow.VerbUndeploy, nil)
}

func (s *Server) scale(ctx context.Context, r *request) (answer, error) {
	body, err := r.object()
	if err != nil {
		return answer{}, err
	}
	arguments, err := r.scaleArguments(body)
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, flow.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	return s.command(ctx, r, document, flow.VerbScale, arguments)
}

// scaleArguments reads what is scaled how far. OneFlow knows no role of no name.
func (r *request) scaleArguments(body attributes) (flow.ScaleArguments, error) {
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

func (s *Server) serviceActions() map[string]documentAction {
	actions := map[string]documentAction{
		"recover": s.recoverService, release: s.releaseService,
		"rename": s.alone(rename), "chmod": s.alone(chmod), "chown": s.alone(s.chownService), "chgrp": s.alone(s.chgrpService),
	}
	for _, perform := range vmActions {
		actions[perform] = s.scheduleOnService(perform)
	}
	return actions
}

// clientError are the actions whose bad parameters OneFlow answers with 500.
var clientError = []string{"rename", "chmod", "chown", "chgrp"}

// actOnService does not answer 400 where OneFlow answers an action that it
// does not know, or a parameter that is missing, with 500 and a text.
func (s *Server) actOnService(ctx context.Context, r *request) (answer, error) {
	asked, err := r.action()
	if errors.Is(err, errNoPerform) {
		return answer{}, r.conflicting(&statusError{http.StatusInternalServerError, err.Error()}, http.StatusBadRequest)
	}
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, flow.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	actions := s.serviceActions()
	act, known := actions[asked.perform]
	if !known {
		return answer{}, r.conflicting(unsupported(http.StatusInternalServerError, "service", asked.perform, actions), http.StatusBadRequest)
	}
	reply, err := act(ctx, r, document, asked.params)
	var wrong *statusError
	if !r.own && slices.Contains(clientError, asked.perform) && errors.As(err, &wrong) && wrong.status == http.StatusBadRequest && wrong != errNoDryRun {
		err = &statusError{http.StatusInternalServerError, asked.perform + ": " + wrong.message}
	}
	return reply, err
}

func (s *Server) recoverService(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
	remove, err := params.flag("delete")
	if err != nil {
		return answer{}, err
	}
	return s.command(ctx, r, document, flow.VerbRecover, flow.RecoverArguments{Delete: remove})
}

// encodeArguments writes a command's arguments, none for nil.
func encodeArguments(arguments any) (json.RawMessage, error) {
	if arguments == nil {
		return nil, nil
	}
	return json.Marshal(arguments)
}
