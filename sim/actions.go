package sim

import (
	"fmt"
	"maps"

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
	// end: a VM that has ended takes it, and stays as it is.
	end bool
}

var (
	running  = active(lcmRunning)
	unknown  = active(lcmUnknown)
	poweroff = status{vmPoweroff, lcmInit}
	pending  = status{vmPending, lcmInit}
	hold     = status{vmHold, lcmInit}
	ended    = status{vmDone, lcmInit}
)

// terminations are terminate's; it also ends what failed.
func terminations() map[status]status {
	table := map[status]status{
		running:                 active(lcmShutdown),
		unknown:                 active(lcmShutdown),
		pending:                 ended,
		hold:                    ended,
		{vmStopped, lcmInit}:    active(lcmEpilog),
		{vmSuspended, lcmInit}:  active(lcmEpilog),
		{vmUndeployed, lcmInit}: active(lcmEpilog),
		poweroff:                active(lcmEpilog),
	}
	for failed := range retries {
		table[active(failed)] = active(lcmCleanupDelete)
	}
	return table
}

// also is a table with one more entry: what the hard form of an action may
// interrupt.
func also(table map[status]status, from, to status) map[status]status {
	longer := maps.Clone(table)
	longer[from] = to
	return longer
}

var (
	shutdownPoweroff = map[status]status{running: active(lcmShutdownPoweroff), unknown: active(lcmShutdownPoweroff)}
	shutdownUndeploy = map[status]status{
		running: active(lcmShutdownUndeploy), unknown: active(lcmShutdownUndeploy), poweroff: active(lcmEpilogUndeploy),
	}
	reschedules = map[status]status{running: running, unknown: unknown, poweroff: poweroff}
)

// actions are the calls of one.vm.action, with their numbers in the history.
var actions = map[string]action{
	"terminate":      {number: 27, end: true, from: terminations()},
	"terminate-hard": {number: 28, end: true, from: also(terminations(), active(lcmShutdown), active(lcmShutdown))},
	"poweroff":       {number: 19, from: shutdownPoweroff},
	"poweroff-hard":  {number: 20, from: also(shutdownPoweroff, active(lcmShutdownPoweroff), active(lcmShutdownPoweroff))},
	"suspend":        {number: 10, from: map[status]status{running: active(lcmSaveSuspend)}},
	"stop":           {number: 9, from: map[status]status{running: active(lcmSaveStop), {vmSuspended, lcmInit}: active(lcmEpilogStop)}},
	"undeploy":       {number: 5, from: shutdownUndeploy},
	"undeploy-hard":  {number: 6, from: also(shutdownUndeploy, active(lcmShutdownUndeploy), active(lcmShutdownUndeploy))},
	"reboot":         {number: 15, from: map[status]status{running: running}, also: rescheduled(false)},
	"reboot-hard":    {number: 16, from: map[status]status{running: running}, also: rescheduled(false)},
	"hold":           {number: 7, beforeAnswer: true, from: map[status]status{pending: hold}},
	"release":        {number: 8, beforeAnswer: true, from: map[status]status{hold: pending}},
	"resume":         {number: 11, newStay: true, from: resumptions},
	"resched":        {number: 17, from: reschedules, also: rescheduled(true)},
	"unresched":      {number: 18, from: reschedules, also: rescheduled(false)},
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

// act carries an action out on a VM.
func (t *tx) act(who identity, name string, v *vm) *refusal {
	wanted, known := actions[name]
	if !known {
		return refuse(opennebula.CodeAction, fmt.Sprintf("Action %q is not supported", name))
	}
	if wanted.end && v.State == vmDone {
		return nil
	}
	to, allowed := wanted.from[v.status()]
	if !allowed {
		return refuse(opennebula.CodeAction, fmt.Sprintf("Error performing action %q: %s", name, wanted.unavailable(v)))
	}
	t.afterCall = !wanted.beforeAnswer
	defer func() { t.afterCall = false }()
	if wanted.also != nil {
		wanted.also(t, v)
	}
	if to == v.status() {
		t.restartDriver(v)
		return nil
	}
	t.prepareStay(v, wanted, to)
	t.credit(who, v, wanted.number)
	t.enter(v, to)
	return nil
}

// unavailable is oned's reason why an action is not possible in a VM's state.
func (a action) unavailable(v *vm) string {
	if a.end {
		return fmt.Sprintf("Could not terminate VM %d, wrong state %s.", v.ID, v.stateName())
	}
	return "This action is not available for state " + v.stateName()
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
		next := newHistory(len(v.History), t.cloud.hosts.all[v.Host])
		next.PlanID, next.ActionID = -1, 0
		next.Start, next.RunningStart = now(), now()
		v.History = append(v.History, next)
	}
}

// credit notes in the history who asked for what.
func (t *tx) credit(who identity, v *vm, number int) {
	if stay := v.last(); stay != nil {
		stay.Action, stay.ActionUID, stay.ActionGID = number, who.user.ID, who.gid
		stay.ActionRequest = 0
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

// recoverVM carries a recovery out. What a recovery can do nothing about stays
// as it is, and oned reports success.
func (t *tx) recoverVM(v *vm, operation int) *refusal {
	if reason := recoveryRefused(v, operation); reason != "" {
		return refuse(opennebula.CodeAction, reason)
	}
	to, moves := recoveryOf(v, operation)
	if !moves {
		return nil
	}
	if to == v.status() {
		t.restartDriver(v)
		return nil
	}
	began := v.State != vmActive || v.LCM != lcmInit
	t.afterCall = true
	defer func() { t.afterCall = false }()
	t.enter(v, to)
	if operation == recoverRecreate && !began {
		v.generation++ // nothing is cleaned up where nothing was begun, and so nothing ends it
	}
	return nil
}

// recoveryRefused is oned's reason against a recovery, "" where there is none.
func recoveryRefused(v *vm, operation int) string {
	const wrongState = "Could not perform a %s on VM %d, wrong state %s."
	switch {
	case operation < recoverFailure || operation > recoverDeleteDB:
		return "Wrong recovery operation code"
	case operation <= recoverSuccess && v.State != vmActive:
		return fmt.Sprintf(wrongState, "recover operation", v.ID, v.stateName())
	case operation == recoverRetry && v.State != vmActive:
		return fmt.Sprintf(wrongState, "retry", v.ID, v.stateName())
	case operation == recoverRecreate && v.State == vmDone:
		return "Cannot delete-recreate a VM already in DONE state"
	}
	return ""
}

// recoveryOf is where a recovery takes a VM; false where it does nothing.
func recoveryOf(v *vm, operation int) (status, bool) {
	switch operation {
	case recoverDelete:
		if v.State == vmActive {
			return active(lcmCleanupDelete), true
		}
		return ended, v.State != vmDone
	case recoverDeleteDB:
		return ended, v.State != vmDone
	case recoverRecreate:
		return recreationOf(v)
	case recoverRetry:
		if step, failed := retries[v.LCM]; failed {
			return active(step), true
		}
		_, step := failures[v.LCM]
		return v.status(), step
	}
	step, failed := retries[v.LCM]
	switch {
	case v.LCM == lcmCleanupDelete:
		return ended, true
	case v.LCM == lcmCleanupResubmit:
		return pending, true
	case v.LCM == lcmUnknown:
		return running, true
	case operation == recoverFailure:
		to, found := failures[v.LCM]
		return to, found
	case !failed:
		step = v.LCM
	}
	to, found := followUps[step]
	return to, found
}

// recreationOf is where a VM goes that is made anew: what has a host is cleaned
// up first. The drivers do that, but for a VM they have not begun with.
func recreationOf(v *vm) (status, bool) {
	switch v.State {
	case vmPending:
		return status{}, false
	case vmHold, vmStopped, vmUndeployed:
		return pending, true
	}
	if v.LCM == lcmCleanupResubmit && v.State == vmActive {
		return pending, true
	}
	return active(lcmCleanupResubmit), v.LCM != lcmCleanupDelete
}
