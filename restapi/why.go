package restapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// diagnosis answers why services are in their states.
type diagnosis struct{ queue queue }

// why explains a service's state to users who may see the service. It asks oned
// for nothing but the document, which is how the right is checked.
func (d *diagnosis) why(ctx context.Context, r *request) (answer, error) {
	document, err := r.document(ctx, flow.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	why, err := d.queue.Why(ctx, document.ID)
	if errors.Is(err, pipeline.ErrNotFound) {
		why, err = explainUnknown(document), nil
	}
	if err != nil {
		return answer{}, asQueueError(err)
	}
	return pretty(http.StatusOK, why)
}

// explainUnknown explains a service that no worker has handled yet, by its document.
func explainUnknown(document opennebula.Document) inspect.Why {
	body, err := flow.ParseBody(document.Body)
	if err != nil {
		return inspect.Unreadable(document.ID, document.Name, document.Owner.UName, err)
	}
	record := pipeline.Record{State: flow.State{Service: flow.Service{ID: document.ID, Owner: document.Owner, Body: body}}}
	return inspect.Explain(document.ID, record, nil, nil, time.Now())
}
