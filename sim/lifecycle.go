package sim

import (
	"slices"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

// enter brings a VM into a state: its figures and history follow, the event is
// emitted, and the next step is set where there is one.
func (t *tx) enter(v *vm, to status) {
	v.former = former{status: v.status(), before: status{v.PrevState, v.PrevLCM}, until: t.written}
	v.PrevState, v.PrevLCM = v.State, v.LCM
	v.State, v.LCM = to.state, to.lcm
	v.generation++
	t.recordStay(v, to)
	t.settleResources(v, to)
	t.emit(vmEvent(v, v.hostName()))
	v.PrevState, v.PrevLCM = v.State, v.LCM
	t.keepVM(v)
	t.db.scheduleStep(v)
	if !deploys(to) {
		t.db.window.plan.finish(t, v)
	}
}

// recordStay keeps the times of the VM's stay on its host.
func (t *tx) recordStay(v *vm, to status) {
	stay, at := v.last(), now()
	if to.state == vmDone {
		v.End = at
	}
	if stay == nil {
		return
	}
	switch to {
	case active(lcmProlog), active(lcmPrologResume), active(lcmPrologUndeploy):
		stay.PlanID, stay.ActionID = -1, 0
		stay.Start, stay.PrologStart = at, at
	case active(lcmBoot), active(lcmBootStopped), active(lcmBootUndeploy):
		stay.PrologEnd, stay.RunningStart = at, at
	case active(lcmRunning):
		v.DeployID = stay.Host + ":" + v.Name + ":" + dummyDriver
		stay.Action, stay.ActionUID, stay.ActionGID, stay.ActionRequest = 0, -1, -1, -1
	case active(lcmEpilog), active(lcmEpilogStop), active(lcmEpilogUndeploy):
		stay.RunningEnd, stay.EpilogStart = at, at
	case status{vmPoweroff, lcmInit}, status{vmSuspended, lcmInit}:
		stay.RunningEnd = at
	case status{vmDone, lcmInit}, status{vmStopped, lcmInit}, status{vmUndeployed, lcmInit}:
		stay.End, stay.EpilogEnd = at, at
	}
}

// settleResources gives back what the state no longer needs: the host's
// capacity, and at the end the addresses.
func (t *tx) settleResources(v *vm, to status) {
	switch to.state {
	case vmDone, vmStopped, vmUndeployed, vmPending:
		t.cloud.hosts.free(v)
		t.wakeWaiting()
	}
	if to.state != vmDone {
		return
	}
	for _, nic := range v.Template.vectors("NIC") {
		t.cloud.releaseNIC(nic, holder{holderVM, v.ID})
	}
	t.cloud.done = append(t.cloud.done, v.ID)
	t.forgetOldest()
}

// forgetOldest drops the VMs that ended longest ago, beyond the kept number.
func (t *tx) forgetOldest() {
	for len(t.cloud.done) > t.db.config.KeepDone {
		oldest := t.cloud.done[0]
		t.cloud.done = t.cloud.done[1:]
		t.removeVM(oldest)
	}
}

// wakeWaiting lets the pending VMs look for room again.
func (t *tx) wakeWaiting() {
	waiting := t.cloud.waiting
	t.cloud.waiting = nil
	for _, id := range waiting {
		if v := t.cloud.vms[id]; v != nil {
			t.db.scheduleStep(v)
		}
	}
}

// restartDriver has the drivers do again what a VM's state is about, if they
// do anything. No event tells of it.
func (t *tx) restartDriver(v *vm) {
	t.keepVM(v)
	v.generation++
	t.db.scheduleStep(v)
}

// moves reports whether a VM does not stay where it is.
func moves(v *vm) bool {
	if v.State == vmPending {
		return true
	}
	if v.State != vmActive {
		return false
	}
	_, found := followUps[v.LCM]
	return found || v.LCM == lcmInit
}

// step is a VM's next step, unless something else has happened to it, the
// boots are paused, or the zone has no leader.
func (t *tx) step(id int, generation uint64) {
	v := t.cloud.vms[id]
	if v == nil || v.generation != generation || t.db.raft.leader() < 0 {
		return
	}
	if v.State == vmPending {
		t.place(v)
		return
	}
	if v.LCM == lcmInit {
		t.enter(v, active(prologOf(v)))
		return
	}
	if bootStates[v.LCM] {
		if v.paused = t.db.faults.bootsPaused; v.paused {
			return
		}
		if end, ok := failures[v.LCM]; ok && t.db.faults.bootFails() {
			t.enter(v, end)
			return
		}
	}
	if to, found := followUps[v.LCM]; found {
		t.enter(v, to)
	}
}

// closeWindow has the VMs that were collected look for a host.
func (t *tx) closeWindow(round int) {
	if t.db.window.round != round || t.db.raft.leader() < 0 {
		return
	}
	t.db.window.plan.carryOut(t, t.db.emptyWindow())
}

// place finds a host for a pending VM; without room the VM stays pending until
// another one leaves.
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
	if v.UserTemplate.has("SCHED_MESSAGE") {
		v.setUserTemplate(v.UserTemplate.without("SCHED_MESSAGE"))
	}
	t.occupy(v, h)
}

// noHistory is oned's reason why a VM with half a history gets no host.
const noHistory = "Cannot update virtual machine history"

// note leaves a message in a VM's user template, of which no event tells.
func (t *tx) note(v *vm, name, message string) {
	v.setUserTemplate(v.UserTemplate.set(name, time.Now().UTC().Format(time.ANSIC)+": "+message))
	t.keepVM(v)
}

// occupy puts a VM on a host.
func (t *tx) occupy(v *vm, h *host) {
	h.take(v)
	v.Wanted = -1
	v.History = append(v.History, newHistory(len(v.History), h))
	if !v.Template.has("TM_MAD_SYSTEM") {
		v.setTemplate(v.Template.with(single("TM_MAD_SYSTEM", dummyDriver)))
	}
	t.enter(v, active(lcmInit))
}

func prologOf(v *vm) opennebula.LCMState {
	origin := v.Origin
	v.Origin = 0
	switch origin {
	case vmStopped:
		return lcmPrologResume
	case vmUndeployed:
		return lcmPrologUndeploy
	}
	return lcmProlog
}

// loseDrivers is the end of the process that leads, or of its leadership: what
// its drivers were at has no end any more, and the VM that was just given a
// host has half a history, with which no host can be given to it.
func (t *tx) loseDrivers() {
	given := false
	for _, id := range t.cloud.vms.ids() {
		v := t.cloud.vms[id]
		v.generation++
		v.paused = false
		if v.State == vmPending && v.placing && !given && !v.HalfWritten && !slices.Contains(t.cloud.waiting, id) {
			given, v.HalfWritten = true, true
			t.keepVM(v)
		}
	}
}

// keepVM marks a VM as changed, and its texts where they are.
func (t *tx) keepVM(v *vm) {
	t.save(kindVM, v.ID, v)
	if v.unsaved {
		t.save(kindVMTexts, v.ID, &v.vmTexts)
		v.unsaved = false
	}
}

// removeVM forgets a VM.
func (t *tx) removeVM(id int) {
	delete(t.cloud.vms, id)
	t.remove(kindVM, id)
	t.remove(kindVMTexts, id)
}
