package restapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// diagnosis answers why services are in their states.
type diagnosis struct {
	queue queue
	// oned is the server user's session: a user may see a service, and not each of its VMs.
	oned session
}

// why explains a service's state to users who may see the service. While oned is away its
// owner and administrators are told what NATS has.
func (d *diagnosis) why(ctx context.Context, r *request) (answer, error) {
	document, err := r.document(ctx, spec.DocumentTypeService)
	if opennebula.Temporary(err) {
		return d.whileAway(ctx, r, err)
	}
	if err != nil {
		return answer{}, err
	}
	body, _, unreadable := spec.ReadService(document.Body)
	why, err := d.queue.Why(ctx, document.ID, d.oned.Look)
	unhandled := errors.Is(err, pipeline.ErrNotFound)
	switch {
	case unhandled && unreadable != nil:
		why, err = inspect.Unreadable(document.ID, document.Name, document.Owner.UName, unreadable), nil
	case unhandled: // by a worker: it is explained by its document
		record := pipeline.Record{State: flow.State{Service: spec.Service{ID: document.ID, Owner: document.Owner, Body: body}}}
		why, err = inspect.Explain(document.ID, record, nil, nil, time.Now()), nil
	case unreadable != nil:
		why.Unreadable(unreadable)
	}
	if err != nil {
		return answer{}, asQueueError(err)
	}
	return pretty(http.StatusOK, why)
}

// whileAway explains a service by what NATS has of it: reason is why oned was not asked. The
// record tells whose it is, and not what its permissions grant.
func (d *diagnosis) whileAway(ctx context.Context, r *request, reason error) (answer, error) {
	id, err := r.id("id", kindNames[spec.DocumentTypeService])
	if err != nil {
		return answer{}, err
	}
	record, revision, err := d.queue.LoadRecord(ctx, id)
	if err != nil {
		return answer{}, asQueueError(err)
	}
	owns := record.State.Service.Owner.UID == r.caller.Identity.UID
	if revision == 0 || !owns && !r.caller.isAdmin() {
		return answer{}, reason
	}
	away := func(_ context.Context, state flow.State) (flow.State, flow.Facts, error) { return state, nil, reason }
	why, err := d.queue.Why(ctx, id, away)
	if err != nil {
		return answer{}, asQueueError(err)
	}
	return pretty(http.StatusOK, why)
}
