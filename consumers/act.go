package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
)

// recoveries are one.vm.recover's operations, by what the domain calls them.
var recoveries = map[string]int{"recover-failure": 0, "recover": opennebula.RecoverRetry, "recover-delete": 3}

// act makes the calls of a decision, one after the other, and plans with what
// they brought. A refusal ends the list: what is left of it is decided anew.
func (e *executor) act(ctx context.Context, actions []flow.Action) (flow.Decision, error) {
	for i, action := range actions {
		if i > 0 {
			if err := e.slot.yield(ctx); err != nil {
				return flow.Decision{}, err
			}
			if err := e.saver.writeIfDue(ctx); err != nil {
				return flow.Decision{}, err
			}
		}
		refused, err := e.actOnce(ctx, action, actions[i+1:])
		if err != nil {
			return flow.Decision{}, err
		}
		if refused != nil {
			return *refused, nil
		}
	}
	if e.record.Deleted {
		return flow.Decision{}, nil
	}
	return e.plan(), nil
}

// actOnce makes one call. A refusal is decided on at once; what was to follow then is
// unasked, so that it is decided on again.
func (e *executor) actOnce(ctx context.Context, action flow.Action, following []flow.Action) (*flow.Decision, error) {
	var outcome flow.Outcome
	err := e.slot.whileOthersWork(ctx, func() (err error) {
		outcome, err = e.callInTurn(ctx, action)
		return err
	})
	if e.isOpen(ctx, err) {
		outcome, err = e.postpone(action, err), nil
	}
	switch {
	case err != nil:
		return nil, err
	case outcome == nil:
		delete(e.record.State.Retries, action.Name())
		return nil, nil
	}
	for _, other := range following {
		if asked, pending := e.record.State.Asked[other.VM]; pending && asked.Action == other.Call {
			asked.Refused = true
			e.record.State.Asked[other.VM] = asked
		}
	}
	decision := flow.Decide(e.known(), outcome)
	return &decision, nil
}

// isOpen reports whether an error leaves open what became of a call while oned
// answers otherwise: it is about this service alone, and no reason to hold up what
// else is asked of it.
func (e *executor) isOpen(ctx context.Context, err error) bool {
	return err != nil && e.outcomeOf(ctx, err) == again
}

// postpone has an action taken again after a while.
func (e *executor) postpone(action flow.Action, err error) flow.Outcome {
	e.finder.searched.at = time.Time{} // it may have been made since
	return flow.Postponed{Action: action, Message: refusalText(err)}
}

// refusal is the outcome of an action that oned will not carry out.
func refusal(action flow.Action, reason error) flow.Outcome {
	return flow.Refused{Action: action, Message: refusalText(reason)}
}

// callInTurn makes a call under the bound on all calls. Meanwhile the service loop gives no
// slot away that it still has: those who got it may wait to call, and it for them.
func (e *executor) callInTurn(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	if err := e.worker.calls.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer e.worker.calls.Release(1)
	e.slot.calling = true
	defer func() { e.slot.calling = false }()
	if err := e.saver.stillOurs(ctx); err != nil {
		return nil, err
	}
	if ends(action) {
		if err := e.loader.sureOfDatabase(ctx); err != nil {
			return nil, err
		}
		ctx = e.loader.withinLife(ctx)
	}
	e.worker.metrics.actions.WithLabelValues(string(action.Kind)).Inc()
	return e.call(ctx, action)
}

// ends reports whether a call may end something.
func ends(action flow.Action) bool {
	switch action.Kind {
	case flow.ActionVM, flow.ActionRecoverVM, flow.ActionDeleteNetwork, flow.ActionDeleteRouter, flow.ActionDeleteDocument:
		return true
	}
	return false
}

func (e *executor) call(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	switch action.Kind {
	case flow.ActionCreateVM:
		return e.create(ctx, action)
	case flow.ActionFindVM:
		return e.findOrGiveUp(ctx, action)
	case flow.ActionVM:
		if action.Scaling {
			if spared, err := e.spare(ctx, action); err != nil || spared != nil {
				return spared, err
			}
		}
		return e.request(ctx, action, e.actor.session().ActOnVM(ctx, action.Call, action.VM))
	case flow.ActionRecoverVM:
		return e.recoverVM(ctx, action)
	case flow.ActionCreateNetwork:
		return e.networks.createNetwork(ctx, action)
	case flow.ActionFindNetwork:
		return e.networks.findOrGiveUpNetwork(ctx, action)
	case flow.ActionDeleteNetwork:
		return e.networks.deleteNetwork(ctx, action)
	case flow.ActionCreateRouter:
		return e.routers.createRouter(ctx, action)
	case flow.ActionFindRouter:
		return e.routers.findOrGiveUpRouter(ctx, action)
	case flow.ActionDeleteRouter:
		return e.routers.deleteRouter(ctx, action)
	case flow.ActionDeleteDocument:
		return nil, e.deleteDocument(ctx)
	}
	return nil, fmt.Errorf("%w: service %d: unknown action %q", errPoison, e.service, action.Kind)
}

// create makes a VM, once: where an earlier call may have made it, it is looked
// for first.
func (e *executor) create(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	intent := action.Intent
	if intent.Attempts > 0 && !e.finder.searchedInVain(intent.Key) {
		found, err := e.finder.find(ctx, intent)
		if err != nil || found {
			return nil, err
		}
	}
	if router, has := e.record.State.Service.Router(intent.Role); has {
		if refused, err := e.routers.strangersRouter(ctx, action, router); refused != nil || err != nil {
			return refused, err
		}
	}
	extra, outcome, err := e.extraTemplate(ctx, action)
	if err != nil || outcome != nil {
		return outcome, err
	}
	err = e.instantiate(ctx, intent, extra)
	switch {
	case err == nil:
		return nil, nil
	case opennebula.Temporary(err):
		return nil, fmt.Errorf("create VM %s of service %d: %w", intent.Name, e.service, err)
	}
	return refusal(action, err), nil
}

// created notes a VM that oned has just made. What is known of the id already may be the
// VM's, for its events may come before the answer; without the intent's key it is of another
// VM, from before oned was restored, or of an event that somebody has invented.
func (e *executor) created(id int, intent flow.Intent) {
	e.worker.database.raise(id)
	if vm, seen := e.facts[id]; seen && vm.Key == intent.Key {
		return
	}
	state := one.VMPending
	if intent.Hold {
		state = one.VMHold
	}
	e.facts[id] = one.VM{
		ID: id, Name: intent.Name, Owner: e.record.State.Service.Owner, State: state,
		Service: e.service, Role: intent.Role, Key: intent.Key,
	}
}

// findOrGiveUp settles an intent that is no longer wanted.
func (e *executor) findOrGiveUp(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	found, err := e.finder.find(ctx, action.Intent)
	if err != nil || found {
		return nil, err
	}
	return flow.NotFound{Action: action}, nil
}

// recoverVM has oned retry what failed, let fail what does not end, or delete a VM. oned
// lets only administrators do that, so it is done as the server, and only to a VM that
// says it is the service's.
func (e *executor) recoverVM(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	if vm, known := e.facts[action.VM]; !known || !e.record.State.Service.Owns(vm) {
		return nil, nil
	}
	return e.request(ctx, action, e.actor.server().RecoverVM(ctx, action.VM, recoveries[action.Call]))
}

// request takes the answer to what a VM was asked. A refusal counts only if the
// VM, looked at again, has not done it anyway. That the VM's state does not allow it
// may be over by now.
func (e *executor) request(ctx context.Context, action flow.Action, err error) (flow.Outcome, error) {
	vm := action.VM
	if err == nil {
		return nil, nil
	}
	if opennebula.Temporary(err) {
		return nil, fmt.Errorf("act on VM %d of service %d: %w", vm, e.service, err)
	}
	if lookErr := e.ingester.fetchSpan(ctx, e.actor.server().Confirmed(), []int{vm}, e.facts); lookErr != nil {
		return nil, lookErr
	}
	if opennebula.IsCode(err, opennebula.CodeAction) && flow.PassingRefusal(action) {
		return e.postpone(action, err), nil
	}
	return refusal(action, err), nil
}

// spare keeps a VM that is to be ended by a scaling and that its owner has protected since
// it was seen last: of a change of a user template nobody is woken.
func (e *executor) spare(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	vm, err := e.ingester.fetchVM(ctx, e.actor.server().Confirmed(), action.VM, e.facts)
	if err != nil || !vm.Protected {
		return nil, err
	}
	return flow.Spared{Action: action}, nil
}

// tolerate lets a refusal pass that no decision depends on.
func (e *executor) tolerate(vm int, err error) error {
	if err == nil {
		return nil
	}
	if opennebula.Temporary(err) {
		return fmt.Errorf("act on VM %d of service %d: %w", vm, e.service, err)
	}
	e.worker.config.Logger.Warn("oned refused a call for a VM", "service", e.service, "vm", vm, "error", err)
	return nil
}

func (e *executor) deleteDocument(ctx context.Context) error {
	err := e.actor.server().DeleteDocument(ctx, e.service)
	if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
		return fmt.Errorf("delete the document of service %d: %w", e.service, err)
	}
	e.record.Deleted = true
	return nil
}

// refusalText is what oned said, for the service's log.
func refusalText(err error) string {
	var refusal *opennebula.Error
	if errors.As(err, &refusal) {
		return refusal.Message
	}
	return err.Error()
}

// instantiate makes an intent's VM. The VM of a virtual router is not named in
// the answer and is looked for by its key.
func (e *executor) instantiate(ctx context.Context, intent flow.Intent, extra string) error {
	router, has := e.record.State.Service.Router(intent.Role)
	if !has {
		id, err := e.actor.session().InstantiateTemplate(ctx, intent.TemplateID, intent.Name, intent.Hold, extra)
		if err == nil {
			e.created(id, intent)
			e.actor.regroup(ctx, id)
		}
		return err
	}
	if err := e.actor.session().InstantiateRouter(ctx, router, 1, intent.TemplateID, intent.Name, intent.Hold, extra); err != nil {
		return err
	}
	found, err := e.finder.find(ctx, intent)
	if err == nil && !found {
		err = errors.New("oned created it but does not list it")
	}
	if err != nil {
		return &opennebula.TransportError{Method: "one.vrouter.instantiate", Sent: true, Err: err}
	}
	return nil
}
