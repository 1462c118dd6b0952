package sim

import (
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

// scheduleStep has a VM go on: a pending one waits for the scheduler. The caller holds the lock.
func (d *database) scheduleStep(v *vm) {
	switch {
	case !moves(v):
	case v.State == vmPending && d.window.length > 0:
		d.collect(v)
	default:
		v.placing = v.State == vmPending
		d.after(v)
	}
}

// after sets the timer of a VM's next step. The caller holds the lock.
func (d *database) after(v *vm) {
	id, generation := v.ID, v.generation
	d.later(func(t *tx) { t.step(id, generation) })
}

// later has an object's next step happen after its delay; oned writes it behind its event.
func (d *database) later(step func(t *tx)) {
	d.clock.after(d.delays.boot(), func() {
		d.update(func(t *tx) {
			t.written = time.Now().Add(d.delays.write())
			step(t)
		})
	})
}

// scheduleNetwork sets the timer of a network's next step, if it has one.
func (d *database) scheduleNetwork(n *network) {
	if n.State != opennebula.NetworkLockCreate && n.State != opennebula.NetworkLockDelete {
		return
	}
	id := n.ID
	d.later(func(t *tx) { networkStep(t, id) })
}

// scheduleAction sets the timer of a VM's scheduled action.
func (d *database) scheduleAction(vmID int, a scheduledAction) {
	if a.Done >= 0 {
		return
	}
	d.clock.at(time.Unix(a.Time, 0), func() {
		d.update(func(t *tx) { runScheduled(t, vmID, a.ID) })
	})
}

// takeOver sets the timers of what goes on by itself at a server that begins to
// lead: pending VMs look for a host, networks change their state, and actions
// fall due. What drivers were at is lost. The caller holds the lock.
func (d *database) takeOver() {
	d.cloud.waiting = nil
	d.emptyWindow()
	for _, id := range d.cloud.vms.ids() {
		v := d.cloud.vms[id]
		if v.State == vmPending {
			v.generation++
			d.scheduleStep(v)
		}
		for _, a := range v.Scheduled {
			d.scheduleAction(id, a)
		}
	}
	for _, id := range d.cloud.networks.ids() {
		d.scheduleNetwork(d.cloud.networks[id])
	}
}
