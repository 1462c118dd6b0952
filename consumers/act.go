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

// recoveries are one.vm.recover's operations, by what the domain calls them.
var recoveries = map[string]int{"recover-failure": 0, "recover": opennebula.RecoverRetry, "recover-delete": 3}

// endingKinds are the actions that may end something.
var endingKinds = []flow.ActionKind{
	flow.ActionVM, flow.ActionRecoverVM, flow.ActionDeleteNetwork, flow.ActionDeleteRouter, flow.ActionDeleteDocument,
}

// executor makes the calls that were decided on.
type executor struct{ *serviceLoop }

// act makes the calls of a decision, one after the other, and plans with what they brought. A
// refusal is decided on at once and ends the list: what was to follow is decided on anew.
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
		err := e.slot.whileOthersWork(ctx, func() (err error) {
			outcome, err = e.call(ctx, action)
			return err
		})
		if err != nil && e.outcomeOf(ctx, err) == again {
			// What became of the call is open, while oned answers otherwise: that is about this
			// service alone, and no reason to hold up what else is asked of it.
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

// postpone has an action taken again after a while.
func (e *executor) postpone(action flow.Action, err error) flow.Outcome {
	e.finder.searched.at = time.Time{} // it may have been made since
	return flow.Postponed{Action: action, Message: refusalText(err)}
}

// refusal is the outcome of an action that oned will not carry out.
func refusal(action flow.Action, reason error) flow.Outcome {
	return flow.Refused{Action: action, Message: refusalText(reason)}
}

// refusalText is what oned said, for the service's log.
func refusalText(err error) string {
	var refusal *opennebula.Error
	if errors.As(err, &refusal) {
		return refusal.Message
	}
	return err.Error()
}

// call makes a call under the bound on all calls. Meanwhile the service loop gives no
// slot away that it still has: those who got it may wait to call, and it for them.
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
		if err := e.loader.sureOfDatabase(ctx); err != nil {
			return nil, err
		}
		ctx = opennebula.Within(ctx, e.life)
	}
	e.worker.metrics.actions.WithLabelValues(string(action.Kind)).Inc()
	switch action.Kind {
	case flow.ActionCreateVM:
		return e.create(ctx, action)
	case flow.ActionFindVM, flow.ActionFindNetwork, flow.ActionFindRouter:
		return e.findOrGiveUp(ctx, action)
	case flow.ActionVM:
		return e.actOnVM(ctx, action)
	case flow.ActionRecoverVM:
		// oned lets only administrators do that, so it is done as the server, and only to a VM that
		// says it is the service's.
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
		err := e.worker.oned.Server().DeleteDocument(ctx, e.service)
		if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
			return nil, fmt.Errorf("delete the document of service %d: %w", e.service, err)
		}
		e.record.Deleted = true
		return nil, nil
	}
	return nil, fmt.Errorf("%w: service %d: unknown action %q", errPoison, e.service, action.Kind)
}

// create makes a VM, once: where an earlier call may have made it, it is looked for first.
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
	extra, refused, err := e.extraTemplate(ctx, action, render.Instance{Role: intent.Role, Key: intent.Key, Ordinal: intent.Ordinal})
	if err != nil || refused != nil {
		return refused, err
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

// instantiate makes an intent's VM. The answer does not name the VM of a virtual router, which
// is looked for by its key.
func (e *executor) instantiate(ctx context.Context, intent flow.Intent, extra string) error {
	service := e.record.State.Service
	if router, has := service.Router(intent.Role); has {
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
	id, err := e.actor.session().InstantiateTemplate(ctx, intent.TemplateID, intent.Name, intent.Hold, extra)
	if err != nil {
		return err
	}
	e.worker.database.raise(id)
	// Its events may come before the answer. What is known without the intent's key is of another
	// VM, from before oned was restored, or of a forged event.
	if vm, seen := e.facts[id]; !seen || vm.Key != intent.Key {
		state := one.VMPending
		if intent.Hold {
			state = one.VMHold
		}
		e.facts[id] = one.VM{
			ID: id, Name: intent.Name, Owner: service.Owner, State: state, Service: e.service, Role: intent.Role, Key: intent.Key,
		}
	}
	if e.actor.regroups { // a VM that it fails for stays in its owner's group
		if err := e.worker.oned.Server().ChownVM(ctx, id, -1, service.Owner.GID); err != nil {
			e.worker.config.Logger.Warn("the group of a VM could not be set to its service's group", "service", e.service, "vm", id, "error", err)
		}
	}
	return nil
}

// findOrGiveUp settles what is no longer wanted: a VM's intent, a network, or a virtual router.
func (e *executor) findOrGiveUp(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	var found bool
	var err error
	switch action.Kind {
	case flow.ActionFindNetwork:
		found, err = e.networks.find(ctx, action.Network)
	case flow.ActionFindRouter:
		found, err = e.routers.find(ctx, action.Router)
	default:
		found, err = e.finder.find(ctx, action.Intent)
	}
	if err != nil || found {
		return nil, err
	}
	return flow.NotFound{Action: action}, nil
}

// actOnVM asks for something of a VM. One that is to be ended by a scaling is kept where its
// owner has protected it since it was seen last: of a change of a user template nobody is woken.
func (e *executor) actOnVM(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	if action.Scaling {
		vm, err := e.ingester.fetchVM(ctx, e.worker.oned.Server().Confirmed(), action.VM, e.facts)
		if err != nil {
			return nil, err
		}
		if vm.Protected {
			return flow.Spared{Action: action}, nil
		}
	}
	return e.request(ctx, action, e.actor.session().ActOnVM(ctx, action.Call, action.VM))
}

// request takes the answer to what a VM was asked. A refusal counts only if the VM, read again,
// has not done it anyway. That the VM's state does not allow it may be over by now.
func (e *executor) request(ctx context.Context, action flow.Action, err error) (flow.Outcome, error) {
	vm := action.VM
	if err == nil {
		return nil, nil
	}
	if opennebula.Temporary(err) {
		return nil, fmt.Errorf("act on VM %d of service %d: %w", vm, e.service, err)
	}
	if lookErr := e.ingester.fetchSpan(ctx, e.worker.oned.Server().Confirmed(), []int{vm}, e.facts); lookErr != nil {
		return nil, lookErr
	}
	if opennebula.IsCode(err, opennebula.CodeAction) && flow.PassingRefusal(action) {
		return e.postpone(action, err), nil
	}
	return refusal(action, err), nil
}

// extraTemplate is what a VM or virtual router is made with over its role's VM template, which is read as
// the owner, and only where something is merged into it.
func (e *executor) extraTemplate(ctx context.Context, action flow.Action, instance render.Instance) (string, flow.Outcome, error) {
	service := e.record.State.Service
	var base one.Template
	if id, needed := render.NeedsTemplate(service, instance.Role); needed {
		template, err := e.actor.session().VMTemplate(ctx, id)
		if err == nil {
			base, err = template.Tree()
		}
		switch {
		case opennebula.Temporary(err):
			return "", nil, fmt.Errorf("read VM template %d for role %s of service %d: %w", id, instance.Role, e.service, err)
		case err != nil:
			return "", refusal(action, err), nil
		}
	}
	values, err := e.referenceValues(ctx, instance.Role)
	if err != nil {
		return "", nil, err
	}
	text, err := render.ExtraTemplate(service, instance, base, values)
	if err != nil {
		return "", refusal(action, err), nil
	}
	return text, nil, nil
}

// referenceValues returns what a role's references to its parents stand for: the value of the
// first of the parent's own VMs that has one, else empty. A VM that oned does not show has none.
func (e *executor) referenceValues(ctx context.Context, role string) (map[string]string, error) {
	service := e.record.State.Service
	values := map[string]string{}
	trees := map[int]one.Template{} // each VM is read once
	for _, reference := range render.References(service, role) {
		values[reference.Text] = ""
		for _, id := range service.RoleNodes(reference.Parent) {
			if vm, known := e.facts[id]; known && !service.Owns(vm) {
				continue
			}
			if _, read := trees[id]; !read {
				tree, err := e.actor.session().VMTree(ctx, id)
				if err != nil && opennebula.Temporary(err) {
					return nil, fmt.Errorf("read VM %d of service %d, which another role refers to: %w", id, e.service, err)
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

// What is made for a service is made as its owner, with the group that the service has: so
// are the VMs of one that was given to another group, or made with a token for one group. Only
// in a group that the owner is in: oned takes a server user's word for any, and the rights of
// group 0 are an administrator's. Where he is not in it, what was made is given to the group.

const (
	// trustGroup is for how long a user's primary group is remembered.
	trustGroup = 5 * time.Minute
	maxGroups  = 10_000
)

// usersGroups remembers the groups that users are in.
type usersGroups struct {
	oned *opennebula.Client

	mutex sync.Mutex
	known map[int]userGroups // by uid
}

// userGroups are a user's primary group and all of them; -1 and none for a user that oned
// does not have.
type userGroups struct {
	primary int
	all     []int
	until   time.Time
}

func (g *usersGroups) of(ctx context.Context, uid int) (userGroups, error) {
	g.mutex.Lock()
	held, has := g.known[uid]
	g.mutex.Unlock()
	if has && time.Now().Before(held.until) {
		return held, nil
	}
	user, err := g.oned.Server().User(ctx, uid)
	held = userGroups{user.Identity.GID, user.Groups, time.Now().Add(trustGroup)}
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		held.primary, held.all = -1, nil
	case err != nil:
		return userGroups{}, fmt.Errorf("ask for the groups of user %d: %w", uid, err)
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.known == nil || len(g.known) >= maxGroups {
		g.known = map[int]userGroups{}
	}
	g.known[uid] = held
	return held, nil
}

// actor is as whom calls are made.
type actor struct {
	*serviceLoop
	// acts is as whom calls are made for the owner actsFor.
	acts     string
	actsFor  one.Identity
	regroups bool // what is made is given to the service's group afterwards
}

// actAs finds out as whom calls for a service are made: its owner, and in the service's group
// alone where that is not the owner's primary one.
func (a *actor) actAs(ctx context.Context, owner one.Identity) error {
	if a.acts != "" && a.actsFor == owner {
		return nil
	}
	groups, err := a.worker.groups.of(ctx, owner.UID)
	if err != nil {
		return err
	}
	a.acts, a.actsFor, a.regroups = owner.UName, owner, false
	switch {
	case groups.primary < 0 || groups.primary == owner.GID:
	case slices.Contains(groups.all, owner.GID):
		a.acts += ":" + strconv.Itoa(owner.GID)
	default:
		a.regroups = true
	}
	return nil
}

// session is oned's for the service's owner: everything done to VMs is done as
// the owner, with the owner's rights and no more.
func (a *actor) session() *opennebula.Session {
	owner := a.record.State.Service.Owner
	if a.acts != "" && a.actsFor == owner {
		return a.worker.oned.For(a.acts)
	}
	return a.worker.oned.For(owner.UName)
}
