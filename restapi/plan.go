package restapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/restapi/internal/dryrun"
)

const planReads = 8

// planner answers dry runs.
type planner struct {
	queue    queue
	settings flow.Settings
}

// plan answers what a command would do, and changes nothing.
func (p *planner) plan(ctx context.Context, r *request, service opennebula.Document, command flow.Command) (answer, error) {
	body, _, err := spec.ReadService(service.Body)
	if err != nil {
		return answer{}, fmt.Errorf("plan for service %d: %w", service.ID, err)
	}
	facts, err := readFacts(ctx, r.oned, body)
	if err != nil {
		return answer{}, err
	}
	input, err := p.input(ctx, service, body, facts)
	if err != nil {
		return answer{}, err
	}
	first, err := flow.Apply(input, command)
	var refusal *flow.Refusal
	if errors.As(err, &refusal) {
		return answer{}, &statusError{r.refusalStatus(refusal.Kind), refusal.Message}
	}
	if err != nil {
		return answer{}, fmt.Errorf("plan for service %d: %w", service.ID, err)
	}
	view := dryrun.Run(first, facts, input.Now, p.settings)
	view.Verb, view.Service = command.Verb, service.ID
	return pretty(http.StatusOK, view)
}

// input is what a decision about a service as it is now depends on.
func (p *planner) input(ctx context.Context, service opennebula.Document, body spec.Body, facts flow.Facts) (flow.Input, error) {
	var record pipeline.Record
	if service.ID > 0 {
		var err error
		if record, _, err = p.queue.LoadRecord(ctx, service.ID); err != nil {
			return flow.Input{}, &queueError{err}
		}
	}
	state := record.State
	state.Service = spec.Service{ID: service.ID, Owner: service.Owner, Body: body}
	return flow.Input{State: state, Facts: facts, Now: time.Now(), Settings: p.settings}, nil
}

// readFacts reads the VMs of a service as the caller sees them.
func readFacts(ctx context.Context, oned session, body spec.Body) (flow.Facts, error) {
	ids := vmIDs(body)
	vms := make([]one.VM, len(ids))
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(planReads)
	for i, id := range ids {
		reads.Go(func() (err error) {
			vms[i], err = oned.VM(ctx, id)
			if opennebula.IsCode(err, opennebula.CodeNoExists) {
				vms[i], err = one.VM{ID: id, State: one.VMDone, Service: -1}, nil
			}
			if err != nil {
				return fmt.Errorf("read VM %d: %w", id, err)
			}
			return nil
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	facts := flow.Facts{}
	for _, vm := range vms {
		facts[vm.ID] = vm
	}
	return facts, nil
}

// readOnly is a session in which a dry run cannot change anything, whichever
// call it was asked for.
type readOnly struct{ session }

var errNoDryRun = &statusError{http.StatusBadRequest, "this call has no dry_run; instantiate, scale, update, add_role, remove_role, release, recover and undeploy have"}

func (readOnly) AllocateDocument(context.Context, int, string, []byte) (int, error) {
	return 0, errNoDryRun
}
func (readOnly) UpdateDocument(context.Context, int, []byte) error { return errNoDryRun }
func (readOnly) DeleteDocument(context.Context, int) error         { return errNoDryRun }
func (readOnly) RenameDocument(context.Context, int, string) error { return errNoDryRun }
func (readOnly) ChmodDocument(context.Context, int, string) error  { return errNoDryRun }
func (readOnly) ChownRouter(context.Context, int, int, int) error  { return errNoDryRun }
func (readOnly) ChownVM(context.Context, int, int, int) error      { return errNoDryRun }
func (readOnly) UnscheduleAction(context.Context, int, int) error  { return errNoDryRun }
func (readOnly) DeleteVMTemplate(context.Context, int, bool) error { return errNoDryRun }
func (readOnly) CloneVMTemplate(context.Context, int, string, bool) (int, error) {
	return 0, errNoDryRun
}

func (readOnly) ScheduleAction(context.Context, int, string, string, time.Time) (int, error) {
	return 0, errNoDryRun
}

// ChownDocument lets the question pass whether the caller may MANAGE it.
func (r readOnly) ChownDocument(ctx context.Context, id, uid, gid int) error {
	if uid != -1 || gid != -1 {
		return errNoDryRun
	}
	return r.session.ChownDocument(ctx, id, uid, gid)
}
