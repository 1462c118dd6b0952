package sim

import (
	"fmt"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

var vms = class[vm, *vm]{
	kind: kindVM, words: "virtual machine", label: "VM",
	pool: func(c *cloud) pool[vm] { return c.vms },
}

// vmAction is one.vm.action(name, id).
func vmAction(r *request) answer {
	return vms.changed(r, r.int(2), manage, func(r *request, v *vm) *refusal { return r.tx.act(r.who, r.text(1), v) })
}

func vmRecover(r *request, v *vm) *refusal { return r.tx.recoverVM(v, r.int(2)) }

func vmUpdate(r *request, v *vm) *refusal {
	if _, err := parseTemplate(r.text(2)); err != nil {
		return refuse(opennebula.CodeAction, err.Error())
	}
	updated, refused := updatedTemplate(v.UserTemplate, r.text(2), r.int(3))
	if refused == nil && !updated.breaksXML() { // else oned reports success, and keeps the old one
		v.setUserTemplate(updated)
	}
	return refused
}

// vmDeploy is one.vm.deploy(vm, host, ...): a pending VM gets a host at once.
func vmDeploy(r *request, v *vm) *refusal {
	if v.State != vmPending && v.State != vmHold && v.State != vmStopped && v.State != vmUndeployed {
		return refuse(opennebula.CodeAction, "Deploy action is not available for state "+v.stateName())
	}
	if r.int(2) < 0 || r.int(2) >= len(r.cloud.hosts.all) {
		return notFound("host", r.int(2))
	}
	if v.HalfWritten {
		return refuse(opennebula.CodeInternal, noHistory)
	}
	chosen := r.cloud.hosts.all[r.int(2)]
	if !chosen.fits(v) && !r.flagOr(3, false) {
		return refuse(opennebula.CodeAction, fmt.Sprintf("Not enough capacity in host %d.", chosen.ID))
	}
	r.tx.afterCall = true
	r.tx.occupy(v, chosen)
	r.tx.afterCall = false
	return nil
}

// vmScheduleAdd is one.vm.schedadd; its answer is the action's id.
func vmScheduleAdd(r *request) answer {
	found, refused := vms.find(r, r.int(1), manage)
	if refused != nil {
		return refusedAnswer(refused)
	}
	if found.State == vmDone {
		return refusedAnswer(refuse(opennebula.CodeInternal,
			fmt.Sprintf("Unable to create Scheduled Action for Virtual Machine %d, it's in DONE state", found.ID)))
	}
	added, refused := parseScheduled(r.text(2), found.Start)
	if refused != nil {
		return refusedAnswer(refused)
	}
	added.ID = r.tx.nextID("schedaction")
	found.Scheduled = append(found.Scheduled, added)
	r.tx.keepVM(found)
	r.tx.db.scheduleAction(found.ID, added)
	return idAnswer(added.ID)
}

func vmScheduleDelete(r *request, v *vm) *refusal {
	for i, a := range v.Scheduled {
		if a.ID == r.int(2) {
			v.Scheduled = append(v.Scheduled[:i:i], v.Scheduled[i+1:]...)
			return nil
		}
	}
	return notFound("scheduled action", r.int(2))
}

// poolVMs are the VMs of a pool call (filter, start, end, state), newest first.
// Ids are dense, so counting down is cheaper than sorting thousands of them.
func poolVMs(r *request) []*vm {
	state, wanted := r.intOr(4, opennebula.StateNotDone), r.page(2)
	first, last := wanted.start, r.cloud.next[kindVM]-1
	if wanted.end >= 0 {
		last = min(last, wanted.end)
	}
	if wanted.end < -1 {
		first = 0
	}
	var found []*vm
	at := time.Now()
	for id := last; id >= max(first, 0); id-- {
		v := r.cloud.vms[id]
		if v != nil {
			v = v.stored(at)
		}
		if v != nil && v.matches(state) && r.who.listed(r.int(1), &v.object) {
			found = append(found, v)
		}
	}
	if wanted.end < -1 {
		from := min(max(wanted.start, 0), len(found))
		found = found[from:min(from-wanted.end, len(found))]
	}
	return found
}

func vmPoolInfo(r *request) answer {
	return vmPool(r, func(b *xmlWriter, v *vm) { v.writeShort(b) })
}

func vmPoolInfoExtended(r *request) answer {
	return vmPool(r, func(b *xmlWriter, v *vm) { v.write(b, false) })
}

func vmPool(r *request, write func(b *xmlWriter, v *vm)) answer {
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "VM_POOL")
		found := poolVMs(r)
		for i, v := range found {
			write(b, v)
			if i == 0 { // the others are about as long
				b.Grow(min(len(found)*b.Len(), maxKeptXML))
			}
		}
		shut(b, "VM_POOL")
	})
}

// vmPoolMonitoring is one.vmpool.monitoring(filter, seconds): the last figures
// of every running VM, whatever the seconds. The call is published with its answer.
func vmPoolMonitoring(r *request) answer {
	b := newXML(plainForm)
	defer b.release()
	open(b, "MONITORING_DATA")
	for _, id := range r.cloud.vms.ids() {
		v := r.cloud.vms[id]
		if !v.monitored() || !r.who.listed(r.int(1), &v.object) {
			continue
		}
		open(b, "MONITORING")
		v.writeMonitoring(b, now())
		shut(b, "MONITORING")
	}
	shut(b, "MONITORING_DATA")
	return textAnswer(b.String())
}
