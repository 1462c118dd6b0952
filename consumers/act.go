package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/opennebula"
)

// recoveries are one.vm.recover's operations, by the domain's names.
var recoveries = map[string]int{"recover-failure": 0, "recover": opennebula.RecoverRetry, "recover-delete": 3}

// endingKinds are the actions that may end an object.
var endingKinds = []flow.ActionKind{
	flow.ActionVM, flow.ActionRecoverVM, flow.ActionDeleteNetwork, flow.ActionDeleteRouter, flow.ActionDeleteDocument,
}

// ownersKinds are the actions that are done as the service's owner.
var ownersKinds = []flow.ActionKind{
	flow.ActionCreateVM, flow.ActionVM, flow.ActionCreateNetwork, flow.ActionDeleteNetwork, flow.ActionCreateRouter, flow.ActionDeleteRouter,
}

// executor makes the planned calls, each once, as the service's owner and with the service's group: it may have been given to another
// group, or made with a token for one. The group is used only if the owner is in it: oned accepts a server user's word for any, and the
// rights of group 0 are an administrator's. If he is not in it, new objects are given to the group afterwards.
type executor struct {
	*serviceData
	slot     *slot
	saver    *saver
	owner    *ownerSession
	vms      *vmFetcher
	networks *networks
	routers  *routers
}

// act makes the calls of a decision, one after the other, and plans with the results. A refusal is decided on at once and ends the list:
// the rest is planned again.
func (e *executor) act(ctx context.Context, actions []flow.Action) (flow.Decision, error) {
	for i, action := range actions {
		if i > 0 {
			if e.worker.scheduler.crowded() { // a role of a hundred VMs takes as long as oned takes to make them
				e.slot.release()
				if err := e.slot.acquire(ctx, ordinary); err != nil {
					return flow.Decision{}, err
				}
			}
			if err := e.saver.writeIfDue(ctx); err != nil {
				return flow.Decision{}, err
			}
		}
		var outcome flow.Outcome
		began := time.Now()
		err := e.slot.whileOthersWork(ctx, func() (err error) {
			if outcome, err = e.call(ctx, action); err == nil {
				outcome, err = e.explained(ctx, outcome, began)
			}
			return err
		})
		if err != nil && e.worker.outcomeOf(ctx, err) == again {
			// Its outcome is unknown, while oned answers other calls: only this service has to wait.
			outcome, err = e.postpone(action, err), nil
		}
		if err != nil {
			return flow.Decision{}, err
		}
		if outcome == nil {
			delete(e.record.State.Retries, action.Name())
			continue
		}
		for _, other := range actions[i+1:] {
			if asked, pending := e.record.State.Asked[other.VM]; pending && asked.Action == other.Call {
				asked.Refused = true
				e.record.State.Asked[other.VM] = asked
			}
		}
		return flow.Decide(e.known(), outcome), nil
	}
	if e.record.Deleted {
		return flow.Decision{}, nil
	}
	return flow.Decide(e.known(), nil), nil
}

// postpone has an action retried after a while.
func (e *executor) postpone(action flow.Action, err error) flow.Outcome {
	e.vms.searched.at = time.Time{} // it may have been made since
	return flow.Postponed{Action: action, Message: refusalText(err)}
}

// explained adds the remedy to a refusal if the service's owner, as whom calls are made, no longer exists: oned is asked, unless it was since
// the call began. A refusal does not count while oned refuses the server user, too, or does not answer: it says nothing about the service then.
func (e *executor) explained(ctx context.Context, outcome flow.Outcome, began time.Time) (flow.Outcome, error) {
	refused, is := outcome.(flow.Refused)
	gone := flow.OwnerGone(e.record.State.Service)
	if !is || refused.Message == gone {
		return outcome, nil
	}
	owner, err := e.worker.owners.of(ctx, e.record.State.Service.Owner.UID, began)
	switch {
	case opennebula.Temporary(err):
		return nil, fmt.Errorf("oned refused a call for service %d (%s): %w", e.service, refused.Message, err)
	case err == nil && owner.Identity.UName == "":
		refused.Message += "; " + gone
	}
	return refused, nil
}

// refusal returns the outcome of an action that oned refuses.
func refusal(action flow.Action, reason error) flow.Outcome {
	return flow.Refused{Action: action, Message: refusalText(reason)}
}

// failed sorts the error of a call: a temporary one is retried, a refusal is decided on.
func failed(action flow.Action, err error, doing string, args ...any) (flow.Outcome, error) {
	if opennebula.Temporary(err) {
		return nil, fmt.Errorf(doing+": %w", append(args, err)...)
	}
	return refusal(action, err), nil
}

// refusalText returns oned's message, for the service's log.
func refusalText(err error) string {
	if refusal, is := errors.AsType[*opennebula.Error](err); is {
		return refusal.Message
	}
	return err.Error()
}

// call makes a call under the limit for all calls. Meanwhile the loop keeps its slot: the next holder might wait to call.
func (e *executor) call(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	if err := e.worker.calls.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer e.worker.calls.Release(1)
	e.slot.calling = true
	defer func() { e.slot.calling = false }()
	if err := e.saver.stillOurs(ctx); err != nil {
		return nil, err
	}
	if slices.Contains(endingKinds, action.Kind) {
		if err := e.sureOfDatabase(ctx); err != nil {
			return nil, err
		}
		ctx = opennebula.Within(ctx, e.life)
	}
	if slices.Contains(ownersKinds, action.Kind) {
		gone, err := e.owner.act(ctx)
		if err != nil {
			return nil, err
		}
		if gone {
			return flow.Refused{Action: action, Message: flow.OwnerGone(e.record.State.Service)}, nil
		}
	}
	e.worker.metrics.actions.WithLabelValues(string(action.Kind)).Inc()
	var found bool
	var err error
	switch action.Kind {
	case flow.ActionCreateVM:
		return e.create(ctx, action)
	case flow.ActionVM:
		return e.actOnVM(ctx, action)
	case flow.ActionRecoverVM:
		// Only administrators may: it is done as the server, and only to a VM that is the service's.
		if vm, known := e.facts[action.VM]; !known || !e.record.State.Service.Owns(vm) {
			return nil, nil
		}
		return e.request(ctx, action, e.worker.oned.Server().RecoverVM(ctx, action.VM, recoveries[action.Call]))
	case flow.ActionCreateNetwork:
		return e.networks.create(ctx, action)
	case flow.ActionDeleteNetwork:
		return e.networks.delete(ctx, action)
	case flow.ActionCreateRouter:
		return e.routers.create(ctx, action)
	case flow.ActionDeleteRouter:
		return e.routers.delete(ctx, action)
	case flow.ActionDeleteDocument:
		err = e.worker.oned.Server().DeleteDocument(ctx, e.service)
		if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
			return nil, fmt.Errorf("delete the document of service %d: %w", e.service, err)
		}
		e.record.Deleted = true
		return nil, nil
	case flow.ActionFindVM: // the VM is no longer wanted
		found, err = e.vms.find(ctx, action.Intent)
	case flow.ActionFindNetwork:
		found, err = e.networks.find(ctx, action.Network)
	case flow.ActionFindRouter:
		found, err = e.routers.find(ctx, action.Router)
	default:
		return nil, fmt.Errorf("%w: service %d: unknown action %q", errPoison, e.service, action.Kind)
	}
	if err != nil || found {
		return nil, err
	}
	return flow.NotFound{Action: action}, nil
}

// create makes a VM, once: if an earlier call may have made it, it is looked up first.
func (e *executor) create(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	intent := action.Intent
	justMissed := time.Since(e.vms.searched.at) < trustSearch && e.vms.searched.covers(e.vms.floor(intent.Key)) && !e.vms.searched.keys[intent.Key]
	if intent.Attempts > 0 && !justMissed {
		found, err := e.vms.find(ctx, intent)
		if err != nil || found {
			return nil, err
		}
	}
	if router, has := e.record.State.Service.Router(intent.Role); has {
		switch strange, err := e.routers.stranger(ctx, router); {
		case err != nil:
			return nil, err
		case strange != nil:
			return flow.Refused{Action: action, Message: notOwn(*strange)}, nil
		}
	}
	extra, refused, err := e.owner.extraTemplate(ctx, action, render.Instance{Role: intent.Role, Key: intent.Key, Ordinal: intent.Ordinal})
	if err != nil || refused != nil {
		return refused, err
	}
	if err := e.instantiate(ctx, intent, extra); err != nil {
		return failed(action, err, "create VM %s of service %d", intent.Name, e.service)
	}
	return nil, nil
}

// instantiate makes an intent's VM. A virtual router's VM, which the answer does not name, is looked up by its key.
func (e *executor) instantiate(ctx context.Context, intent flow.Intent, extra string) error {
	service := e.record.State.Service
	if router, has := service.Router(intent.Role); has {
		if err := e.owner.session().InstantiateRouter(ctx, router, intent.TemplateID, intent.Name, intent.Hold, extra); err != nil {
			return err
		}
		found, err := e.vms.find(ctx, intent)
		if err == nil && !found {
			err = errors.New("oned created it but does not list it")
		}
		if err != nil {
			return &opennebula.TransportError{Method: "one.vrouter.instantiate", Sent: true, Err: err}
		}
		return nil
	}
	id, err := e.owner.session().InstantiateTemplate(ctx, intent.TemplateID, intent.Name, intent.Hold, extra)
	if err != nil {
		return err
	}
	e.worker.database.raise(id)
	// Its events may come before the answer. A VM without the key is an older database's, or from a forged event.
	if vm, seen := e.facts[id]; !seen || vm.Key != intent.Key {
		state := one.VMPending
		if intent.Hold {
			state = one.VMHold
		}
		e.facts[id] = one.VM{
			ID: id, Name: intent.Name, Owner: service.Owner, State: state, Service: e.service, Role: intent.Role, Key: intent.Key,
		}
	}
	if e.owner.regroups { // if it fails the VM stays in its owner's group
		if err := e.worker.oned.Server().ChownVM(ctx, id, -1, service.Owner.GID); err != nil {
			e.worker.config.Logger.Warn("the group of a VM could not be set to its service's group", "service", e.service, "vm", id, "error", err)
		}
	}
	return nil
}

// actOnVM calls an action on a VM. A VM to be ended by a scaling is kept if its owner has protected it since it was last fetched: changes
// of user templates wake no service.
func (e *executor) actOnVM(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	if action.Scaling {
		if err := e.vms.fetch(ctx, e.worker.oned.Server().Confirmed(), []int{action.VM}, e.facts); err != nil {
			return nil, err
		}
		if e.facts[action.VM].Protected {
			return flow.Spared{Action: action}, nil
		}
	}
	return e.request(ctx, action, e.owner.session().ActOnVM(ctx, action.Call, action.VM))
}

// request handles the answer to a request to a VM. A refusal counts only if the VM, fetched again, has not done it anyway. A refusal
// because of the VM's state may be over by now.
func (e *executor) request(ctx context.Context, action flow.Action, err error) (flow.Outcome, error) {
	if err == nil {
		return nil, nil
	}
	if opennebula.Temporary(err) {
		return nil, fmt.Errorf("act on VM %d of service %d: %w", action.VM, e.service, err)
	}
	if err := e.vms.fetch(ctx, e.worker.oned.Server().Confirmed(), []int{action.VM}, e.facts); err != nil {
		return nil, err
	}
	if opennebula.IsCode(err, opennebula.CodeAction) && flow.PassingRefusal(action) {
		return e.postpone(action, err), nil
	}
	return refusal(action, err), nil
}

// ownerSession makes calls as the service's owner and with the service's group: it may have been given to another
// group, or made with a token for one. The group is used only if the owner is in it: oned accepts a server user's word for any, and the
// rights of group 0 are an administrator's. If he is not in it, new objects are given to the group afterwards.
type ownerSession struct {
	*serviceData
	// acts is the user as whom calls are made; regroups is whether new objects are given to the group.
	acts     string
	regroups bool
}

// act sets the user as whom the next call is made: the owner, in the service's group alone if it is not his primary one. An owner who
// was deleted, or who has left the group, has its rights for Config.TrustOwner longer at most. For an owner who is gone no call is made: oned
// knows the user for whom a server user acts by the name, which another user may have by now.
func (o *ownerSession) act(ctx context.Context) (gone bool, err error) {
	owner := o.record.State.Service.Owner
	known, err := o.worker.owners.of(ctx, owner.UID, time.Now().Add(-o.worker.config.TrustOwner))
	if err != nil || known.Identity.UName == "" {
		return err == nil, err
	}
	o.acts, o.regroups = known.Identity.UName, false
	switch {
	case known.Identity.GID == owner.GID:
	case slices.Contains(known.Groups, owner.GID):
		o.acts += ":" + strconv.Itoa(owner.GID)
	default:
		o.regroups = true
	}
	return false, nil
}

// session returns oned's session for the service's owner, for calls after act.
func (o *ownerSession) session() *opennebula.Session { return o.worker.oned.For(o.acts) }

// extraTemplate returns the text to merge into the role's VM template, which is read as the owner, and only if needed.
func (o *ownerSession) extraTemplate(ctx context.Context, action flow.Action, instance render.Instance) (string, flow.Outcome, error) {
	service := o.record.State.Service
	var base one.Template
	var values map[string]string
	if id, needed := render.NeedsTemplate(service, instance.Role); needed {
		template, err := o.session().VMTemplate(ctx, id)
		if err == nil {
			base, err = template.Tree()
		}
		if err != nil {
			refused, err := failed(action, err, "read VM template %d for role %s of service %d", id, instance.Role, o.service)
			return "", refused, err
		}
		if values, err = o.referenceValues(ctx, instance.Role); err != nil {
			return "", nil, err
		}
	}
	text, err := render.ExtraTemplate(service, instance, base, values)
	if err != nil {
		return "", refusal(action, err), nil
	}
	return text, nil, nil
}

// referenceValues returns the values of a role's references to its parents: of the first of the parent's own VMs that has one, else empty.
// A VM that oned does not show has none.
func (o *ownerSession) referenceValues(ctx context.Context, role string) (map[string]string, error) {
	service := o.record.State.Service
	values := map[string]string{}
	trees := map[int]one.Template{} // each VM is read once
	for _, reference := range render.References(service, role) {
		values[reference.Text] = ""
		for _, id := range service.RoleNodes(reference.Parent) {
			if vm, known := o.facts[id]; known && !service.Owns(vm) {
				continue
			}
			if _, read := trees[id]; !read {
				tree, err := o.session().VMTree(ctx, id)
				if err != nil && opennebula.Temporary(err) {
					return nil, fmt.Errorf("read VM %d of service %d, which another role refers to: %w", id, o.service, err)
				}
				trees[id] = tree
			}
			if value, found := reference.Value(trees[id]); found {
				values[reference.Text] = value
				break
			}
		}
	}
	return values, nil
}

// maxOwners bounds the users that are cached.
const maxOwners = 10_000

// owners caches the users who own services.
type owners struct {
	oned *opennebula.Client

	mutex sync.Mutex
	known map[int]cachedOwner // by uid
}

type cachedOwner struct {
	opennebula.User
	read time.Time
}

// of returns a user as oned has shown them since then, without a name if it does not have the user any more.
func (o *owners) of(ctx context.Context, uid int, since time.Time) (opennebula.User, error) {
	began := time.Now()
	o.mutex.Lock()
	held, has := o.known[uid]
	o.mutex.Unlock()
	if has && held.read.After(since) {
		return held.User, nil
	}
	user, err := o.oned.Server().User(ctx, uid)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		user, err = o.oned.Server().Confirmed().User(ctx, uid)
	}
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		user, err = opennebula.User{}, nil
	}
	if err != nil {
		return opennebula.User{}, fmt.Errorf("ask for the groups of user %d: %w", uid, err)
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.known == nil || len(o.known) >= maxOwners {
		o.known = map[int]cachedOwner{}
	}
	o.known[uid] = cachedOwner{user, began}
	return user, nil
}
