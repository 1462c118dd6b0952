package sim

import (
	"fmt"

	"github.com/flowjet/flowjet/opennebula"
)

// action is something that one.vm.action can ask for.
type action struct {
	// number is the action's in a VM's history.
	number int
	// from says where a VM goes from a state; it may not from any other.
	from map[status]status
	// beforeAnswer: oned does it within the call, so its event comes before the
	// call's. Everything else is left to the life-cycle manager.
	beforeAnswer bool
	// also is for what a table of states cannot say.
	also func(t *tx, v *vm)
	// newStay begins another stay on the same host.
	newStay bool
}

var (
	running  = active(lcmRunning)
	unknown  = active(lcmUnknown)
	poweroff = status{vmPoweroff, lcmInit}
	pending  = status{vmPending, lcmInit}
	ended    = status{vmDone, lcmInit}
)

// terminations are terminate's; it also ends what failed.
var terminations = terminationTable()

func terminationTable() map[status]status {
	table := map[status]status{
		running:                         active(lcmShutdown),
		unknown:                         active(lcmShutdown),
		pending:                         ended,
		{vmHold, lcmInit}:               ended,
		{vmStopped, lcmInit}:            active(lcmEpilog),
		{vmSuspended, lcmInit}:          active(lcmEpilog),
		{vmUndeployed, lcmInit}:         active(lcmEpilog),
		poweroff:                        active(lcmEpilog),
		active(opennebula.LCMState(14)): active(lcmCleanupDelete),
	}
	for failed := range retries {
		table[active(failed)] = active(lcmCleanupDelete)
	}
	return table
}

// actions are the calls of one.vm.action, with their numbers in the history.
var actions = map[string]action{
	"terminate":      {number: 27, from: terminations},
	"terminate-hard": {number: 28, from: terminations},
	"poweroff":       {number: 19, from: map[status]status{running: active(lcmShutdownPoweroff), unknown: active(lcmShutdownPoweroff)}},
	"poweroff-hard":  {number: 20, from: map[status]status{running: active(lcmShutdownPoweroff), unknown: active(lcmShutdownPoweroff)}},
	"suspend":        {number: 10, from: map[status]status{running: active(lcmSaveSuspend)}},
	"stop":           {number: 9, from: map[status]status{running: active(lcmSaveStop), {vmSuspended, lcmInit}: active(lcmEpilogStop)}},
	"undeploy":       {number: 5, from: map[status]status{running: active(lcmShutdownUndeploy), poweroff: active(lcmEpilogUndeploy)}},
	"undeploy-hard":  {number: 6, from: map[status]status{running: active(lcmShutdownUndeploy), poweroff: active(lcmEpilogUndeploy)}},
	"reboot":         {number: 15, from: map[status]status{running: running}},
	"reboot-hard":    {number: 16, from: map[status]status{running: running}},
	"hold":           {number: 7, beforeAnswer: true, from: map[status]status{pending: {vmHold, lcmInit}}},
	"release":        {number: 8, beforeAnswer: true, from: map[status]status{{vmHold, lcmInit}: pending}},
	"resume":         {number: 11, newStay: true, from: resumptions},
	"resched":        {number: 17, from: map[status]status{running: running, unknown: unknown}, also: rescheduled(true)},
	"unresched":      {number: 18, from: map[status]status{running: running, unknown: unknown}, also: rescheduled(false)},
}

// resumptions are resume's: what was stopped or undeployed needs a host again.
var resumptions = map[status]status{
	poweroff:                active(lcmBootPoweroff),
	unknown:                 active(lcmBootUnknown),
	{vmSuspended, lcmInit}:  active(lcmBootSuspended),
	{vmStopped, lcmInit}:    pending,
	{vmUndeployed, lcmInit}: pending,
}

func rescheduled(yes bool) func(*tx, *vm) {
	return func(_ *tx, v *vm) { v.Rescheduled = yes }
}

// unavailable is oned's refusal of an action in a wrong state.
func unavailable(v *vm) *refusal {
	return refuse(opennebula.CodeAction, fmt.Sprintf("This action is not available for state %s", v.stateName()))
}

// act carries an action out on a VM.
func (t *tx) act(who identity, name string, v *vm) *refusal {
	wanted, known := actions[name]
	if !known {
		return refuse(opennebula.CodeAction, fmt.Sprintf("Virtual machine action %q is not supported", name))
	}
	to, allowed := wanted.from[v.status()]
	if !allowed {
		return unavailable(v)
	}
	t.afterCall = !wanted.beforeAnswer
	defer func() { t.afterCall = false }()
	if wanted.also != nil {
		wanted.also(t, v)
	}
	if to == v.status() {
		t.keepVM(v)
		return nil
	}
	t.prepareStay(v, wanted, to)
	t.credit(who, v, wanted.number)
	t.enter(v, to)
	return nil
}

// prepareStay begins another stay where the VM comes back to its host, and
// remembers where one that needs a new host came from.
func (t *tx) prepareStay(v *vm, wanted action, to status) {
	if !wanted.newStay {
		return
	}
	if to == pending {
		v.Origin = v.State
		return
	}
	if stay := v.last(); stay != nil && v.Host >= 0 {
		stay.End = now()
		next := newHistory(len(v.History), t.cloud.hosts[v.Host])
		next.PlanID, next.ActionID = -1, 0
		next.Start, next.RunningStart = now(), now()
		v.History = append(v.History, next)
	}
}

// credit notes in the history who asked for what.
func (t *tx) credit(who identity, v *vm, number int) {
	if stay := v.last(); stay != nil {
		stay.Action, stay.ActionUID, stay.ActionGID = number, who.user.ID, who.gid
		stay.ActionRequest = int(t.sim.requests.Load()) % 10_000
	}
}

// The operations of one.vm.recover.
const (
	recoverFailure = iota
	recoverSuccess
	recoverRetry
	recoverDelete
	recoverRecreate
	recoverDeleteDB
)

// recoverVM carries a recovery out.
func (t *tx) recoverVM(v *vm, operation int) *refusal {
	to, ok := recoveryOf(v, operation)
	if !ok {
		return refuse(opennebula.CodeAction,
			fmt.Sprintf("Recover action is not available for state %s", v.stateName()))
	}
	t.afterCall = true
	defer func() { t.afterCall = false }()
	t.enter(v, to)
	return nil
}

func recoveryOf(v *vm, operation int) (status, bool) {
	switch operation {
	case recoverDelete, recoverDeleteDB:
		if v.State == vmPending || v.State == vmHold || operation == recoverDeleteDB {
			return ended, v.State != vmDone
		}
		return active(lcmCleanupDelete), v.State != vmDone
	case recoverRecreate:
		return active(lcmCleanupResubmit), v.State != vmDone && v.State != vmPending && v.State != vmHold
	}
	if v.State != vmActive {
		return status{}, false
	}
	step, failed := retries[v.LCM]
	switch operation {
	case recoverRetry:
		return active(step), failed
	case recoverFailure:
		to, ok := failures[v.LCM]
		return to, ok
	case recoverSuccess:
		if !failed {
			step = v.LCM
		}
		to, ok := followUps[step]
		return to, ok
	}
	return status{}, false
}
