package sim

import (
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
)

// status is a VM's state and life-cycle state.
type status struct {
	state one.VMState
	lcm   one.LCMState
}

func active(lcm one.LCMState) status { return status{one.VMActive, lcm} }

var (
	running    = active(one.LCMRunning)
	unknown    = active(one.LCMUnknown)
	poweroff   = status{state: one.VMPoweroff}
	suspended  = status{state: one.VMSuspended}
	stopped    = status{state: one.VMStopped}
	undeployed = status{state: one.VMUndeployed}
	pending    = status{state: one.VMPending}
	hold       = status{state: one.VMHold}
	ended      = status{state: one.VMDone}
)

// nowhere is the status of no VM.
var nowhere status

// step is the next step that a VM takes by itself in a life-cycle state.
type step struct {
	// next is the status one step later, and failed the status if the step fails, as in `recover --failure`.
	next, failed   status
	deploys, boots bool // deploys: it is a step of a deployment, and boots: a pause of the boots holds it
}

// steps has all such states: in others a VM stays. A PENDING VM waits for a host.
var steps = map[one.LCMState]step{
	one.LCMInit:             {deploys: true},
	one.LCMProlog:           {active(one.LCMBoot), active(one.LCMPrologFailure), true, false},
	one.LCMPrologResume:     {active(one.LCMBootStopped), active(one.LCMPrologResumeFailure), true, false},
	one.LCMPrologUndeploy:   {active(one.LCMBootUndeploy), active(one.LCMPrologUndeployFailure), true, false},
	one.LCMBoot:             {running, active(one.LCMBootFailure), true, true},
	one.LCMBootUnknown:      {running, unknown, true, true},
	one.LCMBootPoweroff:     {running, poweroff, true, true},
	one.LCMBootSuspended:    {running, suspended, true, true},
	one.LCMBootStopped:      {running, active(one.LCMBootStoppedFailure), true, true},
	one.LCMBootUndeploy:     {running, active(one.LCMBootUndeployFailure), true, true},
	one.LCMSaveStop:         {next: active(one.LCMEpilogStop), failed: running},
	one.LCMEpilogStop:       {next: stopped, failed: active(one.LCMEpilogStopFailure)},
	one.LCMSaveSuspend:      {next: suspended, failed: running},
	one.LCMShutdown:         {next: active(one.LCMEpilog), failed: running},
	one.LCMEpilog:           {next: ended, failed: active(one.LCMEpilogFailure)},
	one.LCMShutdownPoweroff: {next: poweroff, failed: running},
	one.LCMShutdownUndeploy: {next: active(one.LCMEpilogUndeploy), failed: running},
	one.LCMEpilogUndeploy:   {next: undeployed, failed: active(one.LCMEpilogUndeployFailure)},
	one.LCMCleanupDelete:    {next: ended},
	one.LCMCleanupResubmit:  {next: pending},
}

// retries has the step that a failed VM repeats.
var retries = func() map[one.LCMState]one.LCMState {
	reversed := map[one.LCMState]one.LCMState{}
	for lcm, step := range steps {
		if step.failed.state == one.VMActive && step.failed.lcm > one.LCMBootUndeploy {
			reversed[step.failed.lcm] = lcm
		}
	}
	return reversed
}()

// enter brings a VM into a state: it updates the figures and history, emits the event, and schedules the next step if there
// is one.
func (t *tx) enter(v *vm, to status) {
	v.former, v.formerPrev, v.unwritten = v.status(), status{v.PrevState, v.PrevLCM}, t.written
	v.PrevState, v.PrevLCM = v.State, v.LCM
	v.State, v.LCM = to.state, to.lcm
	v.generation++
	t.recordStay(v, to)
	t.settleResources(v, to)
	t.emit(vmEvent(v))
	v.PrevState, v.PrevLCM = v.State, v.LCM
	vms.save(t, v)
	t.db.scheduleStep(v)
	if !steps[to.lcm].deploys || to.state != one.VMActive {
		t.db.window.plan.finish(t, v)
	}
}

// recordStay records the times of the VM's stay on its host.
func (t *tx) recordStay(v *vm, to status) {
	stay, at := v.last(), now()
	if to.state == one.VMDone {
		v.End = at
	}
	if stay == nil {
		return
	}
	switch to {
	case active(one.LCMProlog), active(one.LCMPrologResume), active(one.LCMPrologUndeploy):
		stay.PlanID, stay.ActionID = -1, 0
		stay.Start, stay.PrologStart = at, at
	case active(one.LCMBoot), active(one.LCMBootStopped), active(one.LCMBootUndeploy):
		stay.PrologEnd, stay.RunningStart = at, at
	case running:
		v.DeployID = stay.Host + ":" + v.Name + ":" + dummyDriver
		stay.Action, stay.ActionUID, stay.ActionGID, stay.ActionRequest = 0, -1, -1, -1
	case active(one.LCMEpilog), active(one.LCMEpilogStop), active(one.LCMEpilogUndeploy):
		stay.RunningEnd, stay.EpilogStart = at, at
	case poweroff, suspended:
		stay.RunningEnd = at
	case ended, stopped, undeployed:
		stay.End, stay.EpilogEnd = at, at
	}
}

// settleResources releases the resources that the state no longer needs: the host's capacity, for which pending VMs then
// try again, and at the end the addresses.
func (t *tx) settleResources(v *vm, to status) {
	switch to {
	case ended, stopped, undeployed, pending:
		t.cloud.hosts.free(v)
		waiting := t.cloud.waiting
		t.cloud.waiting = nil
		for _, id := range waiting {
			if v := t.cloud.vms[id]; v != nil {
				t.db.scheduleStep(v)
			}
		}
	}
	if to != ended {
		return
	}
	for _, nic := range v.Template.Vectors("NIC") {
		t.cloud.releaseNIC(nic, holder{holderVM, v.ID})
	}
	t.cloud.done = append(t.cloud.done, v.ID)
	for len(t.cloud.done) > t.db.config.KeepDone {
		oldest := t.cloud.done[0]
		t.cloud.done = t.cloud.done[1:]
		t.save(kindVM, oldest, nil)
	}
}

// restartDriver has the drivers repeat the work of a VM's state, if there is any. No event reports it.
func (t *tx) restartDriver(v *vm) {
	vms.save(t, v)
	v.generation++
	t.db.scheduleStep(v)
}

// step takes a VM's next step, unless the VM has changed since, the boots are paused, or the zone has no leader.
func (t *tx) step(id int, generation uint64) {
	v := t.cloud.vms[id]
	if v == nil || v.generation != generation || t.db.raft.now().leader() < 0 {
		return
	}
	if v.State == one.VMPending {
		t.place(v)
		return
	}
	if v.LCM == one.LCMInit {
		prolog := one.LCMProlog
		switch v.Origin {
		case one.VMStopped:
			prolog = one.LCMPrologResume
		case one.VMUndeployed:
			prolog = one.LCMPrologUndeploy
		}
		v.Origin = 0
		t.enter(v, active(prolog))
		return
	}
	step := steps[v.LCM]
	if step.boots {
		if v.paused = t.db.bootsPaused; v.paused {
			return
		}
		if t.db.failBoots > 0 {
			t.db.failBoots--
			t.enter(v, step.failed)
			return
		}
	}
	if step.next != nowhere {
		t.enter(v, step.next)
	}
}

// place finds a host for a pending VM; without room the VM stays pending until another one leaves.
func (t *tx) place(v *vm) {
	if v.HalfWritten {
		t.note(v, "ERROR", "[deploy] "+noHistory)
		t.db.window.plan.finish(t, v)
		return
	}
	h := t.cloud.hosts.pick(v)
	if h == nil {
		t.db.window.plan.finish(t, v)
		t.cloud.waiting = append(t.cloud.waiting, v.ID)
		t.note(v, "SCHED_MESSAGE", "Cannot dispatch VM: Not enough capacity.")
		return
	}
	if v.UserTemplate.Has("SCHED_MESSAGE") {
		v.UserTemplate = v.UserTemplate.Without("SCHED_MESSAGE")
	}
	t.occupy(v, h)
}

// noHistory is oned's reason why a VM with half a history gets no host.
const noHistory = "Cannot update virtual machine history"

// note leaves a message in a VM's user template, without an event.
func (t *tx) note(v *vm, name, message string) {
	v.UserTemplate = v.UserTemplate.Set(name, time.Now().UTC().Format(time.ANSIC)+": "+message)
	vms.save(t, v)
}

func (t *tx) occupy(v *vm, h *host) {
	h.reserve(v)
	v.History = append(v.History, newHistory(len(v.History), h))
	if !v.Template.Has("TM_MAD_SYSTEM") {
		v.Template = v.Template.Set("TM_MAD_SYSTEM", dummyDriver)
	}
	t.enter(v, active(one.LCMInit))
}

// loseDrivers handles the end of the leading process, or of its leadership: the drivers' work never ends, and a VM that was
// just given a host has half a history, with which it cannot get another host.
func (t *tx) loseDrivers() {
	given := false
	for _, id := range t.cloud.vms.ids() {
		v := t.cloud.vms[id]
		v.generation++
		v.paused = false
		if v.State == one.VMPending && v.placing && !given && !v.HalfWritten && !slices.Contains(t.cloud.waiting, id) {
			given, v.HalfWritten = true, true
			vms.save(t, v)
		}
	}
}
