package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// recoveries are one.vm.recover's operations, by what the domain calls them.
var recoveries = map[string]int{"recover-failure": 0, "recover": opennebula.RecoverRetry, "recover-delete": 3}

// act makes the calls of a decision, one after the other, and plans with what
// they brought. A refusal ends the list: what is left of it is decided anew.
func (l *lane) act(ctx context.Context, actions []flow.Action) (flow.Decision, error) {
	for i, action := range actions {
		if i > 0 {
			if err := l.giveWay(ctx); err != nil {
				return flow.Decision{}, err
			}
		}
		refused, err := l.actOnce(ctx, action, actions[i+1:])
		if err != nil {
			return flow.Decision{}, err
		}
		if refused != nil {
			return *refused, nil
		}
	}
	if l.record.Deleted {
		return flow.Decision{}, nil
	}
	return l.plan(), nil
}

// actOnce makes one call. A refusal is decided on at once; what was to follow then is
// unasked, so that it is decided on again.
func (l *lane) actOnce(ctx context.Context, action flow.Action, following []flow.Action) (*flow.Decision, error) {
	var refusal verdict
	err := l.whileOthersWork(ctx, func() (err error) {
		refusal, err = l.callInTurn(ctx, action)
		return err
	})
	if l.isOpen(ctx, err) {
		refusal, err = l.postpone(action, err), nil
	}
	switch {
	case err != nil:
		return nil, err
	case refusal == nil:
		delete(l.record.State.Retries, action.Name())
		return nil, nil
	}
	for _, other := range following {
		if asked, pending := l.record.State.Asked[other.VM]; pending && asked.Action == other.Call {
			asked.Refused = true
			l.record.State.Asked[other.VM] = asked
		}
	}
	decision := refusal()
	return &decision, nil
}

// isOpen reports whether an error leaves open what became of a call while oned
// answers otherwise: it is about this service alone, and no reason to hold up what
// else is asked of it.
func (l *lane) isOpen(ctx context.Context, err error) bool {
	return err != nil && l.outcomeOf(ctx, err) == again
}

// postpone has an action taken again after a while.
func (l *lane) postpone(action flow.Action, err error) verdict {
	l.searched.at = time.Time{} // it may have been made since
	return func() flow.Decision {
		return flow.Postpone(l.record.State, action, refusalText(err), l.facts, time.Now(), l.worker.config.Settings)
	}
}

// verdict decides with a refusal taken into account.
type verdict func() flow.Decision

// callInTurn makes a call under the bound on all calls. Meanwhile the lane gives no
// place away that it still has: those who got it may wait to call, and it for them.
func (l *lane) callInTurn(ctx context.Context, action flow.Action) (verdict, error) {
	if err := l.worker.calls.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer l.worker.calls.Release(1)
	l.calling = true
	defer func() { l.calling = false }()
	if err := l.stillOurs(ctx); err != nil {
		return nil, err
	}
	l.worker.metrics.actions.WithLabelValues(string(action.Kind)).Inc()
	return l.call(ctx, action)
}

func (l *lane) call(ctx context.Context, action flow.Action) (verdict, error) {
	switch action.Kind {
	case flow.ActionCreateVM:
		return l.create(ctx, action.Intent)
	case flow.ActionFindVM:
		return l.findOrGiveUp(ctx, action.Intent)
	case flow.ActionVM:
		return l.request(ctx, action, l.session().ActOnVM(ctx, action.Call, action.VM))
	case flow.ActionRecoverVM:
		return l.recoverVM(ctx, action)
	case flow.ActionCreateNetwork:
		return l.createNetwork(ctx, action.Network)
	case flow.ActionFindNetwork:
		return l.findOrGiveUpNetwork(ctx, action.Network)
	case flow.ActionDeleteNetwork:
		return l.deleteNetwork(ctx, action.Network)
	case flow.ActionCreateRouter:
		return l.createRouter(ctx, action.Router)
	case flow.ActionFindRouter:
		return l.findOrGiveUpRouter(ctx, action.Router)
	case flow.ActionDeleteRouter:
		return l.deleteRouter(ctx, action.Role)
	case flow.ActionDeleteDocument:
		return nil, l.deleteDocument(ctx)
	}
	return nil, fmt.Errorf("%w: service %d: unknown action %q", errPoison, l.service, action.Kind)
}

// create makes a VM, once: where an earlier call may have made it, it is looked
// for first.
func (l *lane) create(ctx context.Context, intent flow.Intent) (verdict, error) {
	if intent.Attempts > 0 && !l.searchedInVain(intent.Key) {
		found, err := l.find(ctx, intent)
		if err != nil || found {
			return nil, err
		}
	}
	extra, refused, err := l.extraTemplate(ctx, intent)
	if err != nil || refused != nil {
		return refused, err
	}
	err = l.instantiate(ctx, intent, extra)
	switch {
	case err == nil:
		return nil, nil
	case opennebula.Temporary(err):
		return nil, fmt.Errorf("create VM %s of service %d: %w", intent.Name, l.service, err)
	}
	return l.refuseIntent(intent, err), nil
}

func (l *lane) refuseIntent(intent flow.Intent, err error) verdict {
	return func() flow.Decision {
		return flow.RefuseIntent(l.record.State, intent.Key, refusalText(err), l.facts, time.Now(), l.worker.config.Settings)
	}
}

func (l *lane) created(id int, intent flow.Intent) {
	l.worker.raiseNewest(id)
	if _, seen := l.facts[id]; seen {
		return
	}
	state := flow.VMPending
	if intent.Hold {
		state = flow.VMHold
	}
	l.facts[id] = flow.VM{
		ID: id, Name: intent.Name, Owner: l.record.State.Service.Owner, State: state,
		Service: l.service, Role: intent.Role, Key: intent.Key,
	}
}

// findOrGiveUp settles an intent that is no longer wanted.
func (l *lane) findOrGiveUp(ctx context.Context, intent flow.Intent) (verdict, error) {
	found, err := l.find(ctx, intent)
	if err != nil || found {
		return nil, err
	}
	return func() flow.Decision {
		return flow.GiveUpIntent(l.record.State, intent.Key, l.facts, time.Now(), l.worker.config.Settings)
	}, nil
}

// recoverVM has oned retry what failed, let fail what does not end, or delete a VM. oned
// lets only administrators do that, so it is done as the server, and only to a VM that
// says it is the service's.
func (l *lane) recoverVM(ctx context.Context, action flow.Action) (verdict, error) {
	if vm, known := l.facts[action.VM]; !known || !l.record.State.Service.Owns(vm) {
		return nil, nil
	}
	return l.request(ctx, action, l.server().RecoverVM(ctx, action.VM, recoveries[action.Call]))
}

// request takes the answer to what a VM was asked. A refusal counts only if the
// VM, looked at again, has not done it anyway. That the VM's state does not allow it
// may be over by now.
func (l *lane) request(ctx context.Context, action flow.Action, err error) (verdict, error) {
	vm := action.VM
	if err == nil {
		return nil, nil
	}
	if opennebula.Temporary(err) {
		return nil, fmt.Errorf("ask VM %d of service %d: %w", vm, l.service, err)
	}
	if lookErr := l.lookAt(ctx, l.server().Confirmed(), []int{vm}, l.facts); lookErr != nil {
		return nil, lookErr
	}
	if opennebula.IsCode(err, opennebula.CodeAction) && flow.PassingRefusal(action) {
		return l.postpone(action, err), nil
	}
	return func() flow.Decision {
		return flow.RefuseVM(l.record.State, vm, refusalText(err), l.facts, time.Now(), l.worker.config.Settings)
	}, nil
}

// tolerate lets a refusal pass that no decision depends on.
func (l *lane) tolerate(vm int, err error) error {
	if err == nil {
		return nil
	}
	if opennebula.Temporary(err) {
		return fmt.Errorf("ask VM %d of service %d: %w", vm, l.service, err)
	}
	l.worker.config.Logger.Warn("oned refused a request to a VM", "service", l.service, "vm", vm, "error", err)
	return nil
}

func (l *lane) deleteDocument(ctx context.Context) error {
	err := l.server().DeleteDocument(ctx, l.service)
	if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
		return fmt.Errorf("delete the document of service %d: %w", l.service, err)
	}
	l.record.Deleted = true
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
