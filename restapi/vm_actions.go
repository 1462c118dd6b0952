package restapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

const (
	maxArguments = 4 << 10
	// maxActionPeriod keeps the time of the last VM within what oned stores.
	maxActionPeriod = 365 * 24 * 60 * 60
)

// vmActions are the calls that schedule actions on the VMs of services and roles. number and period are the defaults of
// requests without them.
type vmActions struct {
	number int
	period time.Duration
	now    func() time.Time
	*commands
}

// batch is a scheduled action for many VMs: number of them at a time, one period apart; all at once if either is 0.
type batch struct {
	action string
	args   string
	period int
	number int
}

func (a *vmActions) readBatch(perform string, params attributes) (batch, error) {
	if params == nil {
		return batch{}, badRequest(`"params" is missing; it must be an object, such as {"period": 60, "number": 1, "args": ""}, and may be empty`)
	}
	period, periodErr := params.spacing("period", int(a.period/time.Second))
	number, numberErr := params.spacing("number", a.number)
	args, err := params.note("args")
	switch {
	case period > maxActionPeriod:
		err = badRequest(`"period" must be at most %d seconds`, maxActionPeriod)
	case len(args) > maxArguments || strings.ContainsFunc(args, func(c rune) bool { return c < ' ' }):
		err = badRequest(`"args" must have at most %d bytes and no control characters`, maxArguments)
	case one.BeyondBMP(args):
		err = badRequest(`"args" must not have emoji or other characters above U+FFFF`)
	}
	return batch{perform, args, period, number}, cmp.Or(periodErr, numberErr, err)
}

// scheduling schedules an action for each VM of the role with a name, or of all roles. Each role counts its VMs from 0, so
// roles proceed in parallel.
//
// The API does this, as the calling user, and not the service's worker, because it changes VMs only. The worker hears of
// the outcome from the VMs' events.
func (a *vmActions) scheduling(perform, name string) documentAction {
	return func(ctx context.Context, r *request, service opennebula.Document, params attributes) (answer, error) {
		wanted, err := a.readBatch(perform, params)
		if err != nil {
			return answer{}, err
		}
		roles, err := rolesOf(service, name)
		if err != nil {
			return answer{}, err
		}
		if name != "" && roles[0].Type == spec.RoleTypeVR {
			return answer{}, ownFailure(http.StatusConflict, "role %s is a virtual router, whose VMs take no actions; act on its VMs in OpenNebula", name)
		}
		began := a.now()
		if r.keyed != nil && !r.keyed.began.IsZero() {
			began = r.keyed.began
		}
		return done, a.eachVM(ctx, r, service, roles, func(role string, index, vm int) error {
			at := began
			if wanted.number > 0 {
				at = began.Add(time.Duration(index/wanted.number) * time.Duration(wanted.period) * time.Second)
			}
			if err := scheduleOnce(ctx, r, vm, wanted, at); err != nil {
				return fmt.Errorf("schedule %s of VM %d of role %s: %w", perform, vm, role, err)
			}
			return nil
		})
	}
}

// eachVM calls do for each VM of roles, with its index in its role, and continues after an error. The VMs of a virtual
// router are left out: they carry networks of others.
func (a *vmActions) eachVM(ctx context.Context, r *request, document opennebula.Document, roles []spec.Role, do func(role string, index, vm int) error) error {
	service := &spec.Service{ID: document.ID, Owner: document.Owner}
	var failures []error
	for _, role := range roles {
		if role.Type == spec.RoleTypeVR {
			continue
		}
		vms, err := a.ownVMs(ctx, r, service, role)
		failures = append(failures, err)
		for index, vm := range vms {
			failures = append(failures, do(role.Name, index, vm))
		}
	}
	return together(failures...)
}

// scheduleOnce schedules an action of a VM, unless an earlier attempt at this request has: its action has the very same
// time, which counts from the first attempt.
func scheduleOnce(ctx context.Context, r *request, vm int, wanted batch, at time.Time) error {
	if r.keyed.repeated() {
		have, err := r.oned.ScheduledActions(ctx, vm)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(have, func(known opennebula.ScheduledAction) bool {
			return known.Action == wanted.action && known.Args == wanted.args && known.Time == at.Unix()
		}) {
			return nil
		}
	}
	_, err := r.oned.ScheduleAction(ctx, vm, wanted.action, wanted.args, at)
	if opennebula.EndedVM(err) {
		return nil // it ended since its service was read
	}
	return err
}

func rolesOf(service opennebula.Document, name string) ([]spec.Role, error) {
	body, err := readService(service)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return body.Roles, nil
	}
	at := slices.IndexFunc(body.Roles, func(role spec.Role) bool { return role.Name == name })
	if at < 0 {
		return nil, ownFailure(http.StatusNotFound, "%s", spec.Service{ID: service.ID, Body: body}.NoRole(name))
	}
	return body.Roles[at : at+1], nil
}

const release = "release"

// release releases VMs on hold: the worker does that, in the order of the roles.
func (c *commands) release(role string) documentAction {
	return func(ctx context.Context, r *request, service opennebula.Document, _ attributes) (answer, error) {
		return c.run(ctx, r, service, flow.VerbRelease, flow.ReleaseArguments{Role: role})
	}
}

func (a *vmActions) actOnRole(ctx context.Context, r *request) (answer, error) {
	asked, params, err := r.action()
	if err != nil {
		return answer{}, err
	}
	service, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	name := r.PathValue("role")
	roles, err := rolesOf(service, name)
	if err != nil {
		return answer{}, err
	}
	actions := map[string]documentAction{release: a.scheduling(release, name)}
	for _, perform := range schema.VMActions {
		actions[perform] = a.scheduling(perform, name)
	}
	// The VMs of a role that is not on hold are scheduled to be released, like every other action.
	if roles[0].CurrentState() == spec.RoleHold {
		actions[release] = a.release(name)
	}
	act, known := actions[asked]
	if !known {
		return answer{}, unsupported(http.StatusBadRequest, "role", asked, actions)
	}
	return act(ctx, r, service, params)
}

// goneCodes are the errors with which oned refuses an action on a missing object: the code for a scheduled action depends
// on its version, so they are all codes that are neither about rights nor about oned's own state.
var goneCodes = []opennebula.Code{opennebula.CodeNoExists, opennebula.CodeAction, opennebula.CodeXMLRPC, opennebula.CodeInternal}

// unschedule removes a scheduled action from whichever VM has it. It is no error if none has it any more.
func (a *vmActions) unschedule(ctx context.Context, r *request) (answer, error) {
	id, err := r.id("sid", "scheduled action")
	if err != nil {
		return answer{}, err
	}
	service, err := r.document(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	roles, err := rolesOf(service, r.PathValue("role"))
	if err != nil {
		return answer{}, err
	}
	return done, a.eachVM(ctx, r, service, roles, func(_ string, _, vm int) error {
		err := r.oned.UnscheduleAction(ctx, vm, id)
		if refusal, is := errors.AsType[*opennebula.Error](err); err == nil || is && slices.Contains(goneCodes, refusal.Code) {
			return nil
		}
		return fmt.Errorf("remove scheduled action %d from VM %d: %w", id, vm, err)
	})
}

// ownVMs returns those of a role's VMs that are the service's. VMs that others may have written into the document must not
// be acted on with the caller's rights, whether he owns the service or not.
func (a *vmActions) ownVMs(ctx context.Context, r *request, service *spec.Service, role spec.Role) (own []int, err error) {
	ids := spec.VMIDs(role)
	vms, err := readVMs(ctx, r.oned, ids)
	if err != nil {
		return nil, fmt.Errorf("role %s: check the service of %w", role.Name, err)
	}
	for _, id := range ids {
		if vms[id].Gone() {
			continue
		}
		owned, err := a.owns(ctx, service, vms[id])
		if err != nil {
			return nil, fmt.Errorf("role %s: check the service of VM %d: %w", role.Name, id, err)
		}
		if owned {
			own = append(own, id)
		}
	}
	return own, nil
}
