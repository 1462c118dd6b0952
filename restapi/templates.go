package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/opennebula"
)

// allVisible is the pool filter for all documents that the user may see.
const allVisible = -2

// templates are the calls on service templates.
type templates struct {
	commands *commands
	shared   *reservations
	logger   *slog.Logger
	newborn  newborn
}

func (t *templates) create(ctx context.Context, r *request) (answer, error) {
	text, err := r.body()
	if err != nil {
		return answer{}, err
	}
	body, err := template.Read(text, time.Now())
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

func (t *templates) replace(ctx context.Context, r *request) (answer, error) {
	text, err := r.body()
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, spec.DocumentTypeServiceTemplate)
	if err != nil {
		return answer{}, err
	}
	return t.shared.alone(func(ctx context.Context, r *request, held opennebula.Document, _ attributes) (answer, error) {
		body, err := template.Replace(held.Body, text, time.Now())
		if _, is := errors.AsType[*template.ImmutableError](err); is {
			// OneFlow answers this one with 500, and clients know it.
			return answer{}, &statusError{http.StatusInternalServerError, err.Error()}
		}
		if err != nil {
			return answer{}, err
		}
		if err := r.oned.UpdateDocument(ctx, held.ID, encodeBody(body)); err != nil {
			return answer{}, fmt.Errorf("update service template %d: %w", held.ID, err)
		}
		reply, err := showNew(ctx, r, held.ID, http.StatusOK)
		reply.warning = t.dropped(held, body)
		return reply, err
	})(ctx, r, document, nil)
}

// dropped logs the attributes of Flowjet's own that a template has lost, and returns the warning for the client.
func (t *templates) dropped(held opennebula.Document, body spec.Body) string {
	names := strings.Join(template.DroppedExtensions(held.Body, body), ", ")
	if names == "" {
		return ""
	}
	t.logger.Warn("a service template was replaced by a client that omitted attributes of Flowjet", "template", held.ID, "dropped", names)
	return "the template no longer has " + names + ": use append, or include them"
}

// delete removes a template and, if asked to, what its roles are made
// from, which goes first: if that fails, the template is still there to try again.
// {"delete_type": "none"} says how far it goes. A body that is something else, such as
// goca's null, asks for nothing.
func (t *templates) delete(ctx context.Context, r *request) (answer, error) {
	text, err := r.body()
	if err != nil {
		return answer{}, err
	}
	if err := template.CheckNesting(text); err != nil {
		return answer{}, err
	}
	var body attributes
	_ = json.Unmarshal(text, &body) // what cannot be read names no attribute
	far, err := body.deletes("delete_type")
	if err != nil {
		return answer{}, err
	}
	document, err := r.document(ctx, spec.DocumentTypeServiceTemplate)
	if err != nil {
		return answer{}, err
	}
	return t.shared.alone(func(ctx context.Context, r *request, document opennebula.Document, _ attributes) (answer, error) {
		if err := deleteVMTemplates(ctx, r.oned, document, far); err != nil {
			return answer{}, fmt.Errorf("delete service template %d: %w", document.ID, err)
		}
		return finished(r.oned.DeleteDocument(ctx, document.ID), "delete", document)
	})(ctx, r, document, nil)
}
