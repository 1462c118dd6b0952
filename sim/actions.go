package sim

import (
	"fmt"
	"maps"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
)

// action is an action of one.vm.action.
type action struct {
	number int
	from   map[status]status // the next status of a VM by its status; it is refused in any other
	// beforeAnswer: oned acts within the call, so the event comes before the call's. Everything else is left to the
	// life-cycle manager.
	beforeAnswer bool
	reschedules  *bool // sets or clears the VM's mark for the scheduler; nil leaves it
	newStay      bool  // begins another stay, on the same host if the VM has one
	end          bool  // is accepted for a VM that has ended, and changes nothing
}

// terminations returns terminate's table; terminate also ends failed VMs.
func terminations() map[status]status {
	table := map[status]status{
		running:    active(one.LCMShutdown),
		unknown:    active(one.LCMShutdown),
		pending:    ended,
		hold:       ended,
		stopped:    active(one.LCMEpilog),
		suspended:  active(one.LCMEpilog),
		undeployed: active(one.LCMEpilog),
		poweroff:   active(one.LCMEpilog),
	}
	for failed := range retries {
		table[active(failed)] = active(one.LCMCleanupDelete)
	}
	return table
}

// hard returns the table of an action's hard form, which may interrupt the other form.
func hard(table map[status]status, other one.LCMState) map[status]status {
	longer := maps.Clone(table)
	longer[active(other)] = active(other)
	return longer
}

var (
	shutdownPoweroff = map[status]status{running: active(one.LCMShutdownPoweroff), unknown: active(one.LCMShutdownPoweroff)}
	shutdownUndeploy = map[status]status{
		running: active(one.LCMShutdownUndeploy), unknown: active(one.LCMShutdownUndeploy), poweroff: active(one.LCMEpilogUndeploy),
	}
	stays = map[status]status{running: running, unknown: unknown, poweroff: poweroff}
)

// actions are the calls of one.vm.action, with their numbers in the history.
var actions = map[string]action{
	"terminate":      {number: 27, end: true, from: terminations()},
	"terminate-hard": {number: 28, end: true, from: hard(terminations(), one.LCMShutdown)},
	"poweroff":       {number: 19, from: shutdownPoweroff},
	"poweroff-hard":  {number: 20, from: hard(shutdownPoweroff, one.LCMShutdownPoweroff)},
	"suspend":        {number: 10, from: map[status]status{running: active(one.LCMSaveSuspend)}},
	"stop":           {number: 9, from: map[status]status{running: active(one.LCMSaveStop), suspended: active(one.LCMEpilogStop)}},
	"undeploy":       {number: 5, from: shutdownUndeploy},
	"undeploy-hard":  {number: 6, from: hard(shutdownUndeploy, one.LCMShutdownUndeploy)},
	"reboot":         {number: 15, from: map[status]status{running: running}, reschedules: new(false)},
	"reboot-hard":    {number: 16, from: map[status]status{running: running}, reschedules: new(false)},
	"hold":           {number: 7, beforeAnswer: true, from: map[status]status{pending: hold}},
	"release":        {number: 8, beforeAnswer: true, from: map[status]status{hold: pending}},
	"resume":         {number: 11, newStay: true, from: resumptions},
	"resched":        {number: 17, from: stays, reschedules: new(true)},
	"unresched":      {number: 18, from: stays, reschedules: new(false)},
}

// resumptions is resume's table: a VM that was stopped or undeployed needs a host again.
var resumptions = map[status]status{
	poweroff:   active(one.LCMBootPoweroff),
	unknown:    active(one.LCMBootUnknown),
	suspended:  active(one.LCMBootSuspended),
	stopped:    pending,
	undeployed: pending,
}

// act carries out an action of one.vm.action, or refuses it.
func (t *tx) act(who identity, name string, v *vm) {
	wanted, known := actions[name]
	refuseIf(!known, opennebula.CodeAction, fmt.Sprintf("Action %q is not supported", name))
	if wanted.end && v.State == one.VMDone {
		return
	}
	to, allowed := wanted.from[v.status()]
	if !allowed {
		reason := "This action is not available for state " + v.stateName()
		if wanted.end {
			reason = fmt.Sprintf("Could not terminate VM %d, wrong state %s.", v.ID, v.stateName())
		}
		refuse(opennebula.CodeAction, fmt.Sprintf("Error performing action %q: %s", name, reason))
	}
	t.afterCall = !wanted.beforeAnswer
	defer func() { t.afterCall = false }()
	if wanted.reschedules != nil {
		v.Rescheduled = *wanted.reschedules
	}
	if to == v.status() {
		t.restartDriver(v)
		return
	}
	switch stay := v.last(); {
	case !wanted.newStay:
	case to == pending: // the VM needs a new host
		v.Origin = v.State
	case stay != nil && v.Host >= 0:
		stay.End = now()
		next := newHistory(len(v.History), t.cloud.hosts.all[v.Host])
		next.PlanID, next.ActionID = -1, 0
		next.Start, next.RunningStart = now(), now()
		v.History = append(v.History, next)
	}
	if stay := v.last(); stay != nil { // the history has the action and its user
		stay.Action, stay.ActionUID, stay.ActionGID, stay.ActionRequest = wanted.number, who.user.ID, who.gid, 0
	}
	t.enter(v, to)
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

// recoverVM carries a recovery out. A recovery that cannot do anything changes nothing, and oned reports success.
func (t *tx) recoverVM(v *vm, operation int) {
	const wrongState = "Could not perform a %s on VM %d, wrong state %s."
	refuseIf(operation < recoverFailure || operation > recoverDeleteDB, opennebula.CodeAction, "Wrong recovery operation code")
	refuseIf(operation <= recoverSuccess && v.State != one.VMActive,
		opennebula.CodeAction, fmt.Sprintf(wrongState, "recover operation", v.ID, v.stateName()))
	refuseIf(operation == recoverRetry && v.State != one.VMActive, opennebula.CodeAction, fmt.Sprintf(wrongState, "retry", v.ID, v.stateName()))
	refuseIf(operation == recoverRecreate && v.State == one.VMDone, opennebula.CodeAction, "Cannot delete-recreate a VM already in DONE state")
	to, moves := recoveryOf(v, operation)
	switch {
	case !moves:
		return
	case to == v.status():
		t.restartDriver(v)
		return
	}
	began := v.State != one.VMActive || v.LCM != one.LCMInit
	t.afterCall = true
	defer func() { t.afterCall = false }()
	t.enter(v, to)
	if operation == recoverRecreate && !began {
		v.generation++ // no driver has begun, so there is no cleanup, and nothing would end it
	}
}

// recoveryOf returns the status to which a recovery takes a VM; false if it does nothing.
func recoveryOf(v *vm, operation int) (status, bool) {
	switch operation {
	case recoverDelete:
		if v.State == one.VMActive {
			return active(one.LCMCleanupDelete), true
		}
		fallthrough
	case recoverDeleteDB:
		return ended, v.State != one.VMDone
	case recoverRecreate:
		// A VM with a host is cleaned up first. The drivers do that, unless they have not begun with the VM.
		switch {
		case v.State == one.VMPending:
			return status{}, false
		case v.State == one.VMHold, v.State == one.VMStopped, v.State == one.VMUndeployed, v.status() == active(one.LCMCleanupResubmit):
			return pending, true
		}
		return active(one.LCMCleanupResubmit), v.LCM != one.LCMCleanupDelete
	case recoverRetry:
		if step, failed := retries[v.LCM]; failed {
			return active(step), true
		}
		return v.status(), steps[v.LCM].failed != nowhere
	}
	step, failed := retries[v.LCM]
	switch {
	case v.LCM == one.LCMCleanupDelete:
		return ended, true
	case v.LCM == one.LCMCleanupResubmit:
		return pending, true
	case v.LCM == one.LCMUnknown:
		return running, true
	case operation == recoverFailure:
		return steps[v.LCM].failed, steps[v.LCM].failed != nowhere
	case !failed:
		step = v.LCM
	}
	return steps[step].next, steps[step].next != nowhere
}
