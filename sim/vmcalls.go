package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

var vms = class[vm, *vm]{
	kind: kindVM, words: "virtual machine", label: "VM", element: "VM",
	pool: func(c *cloud) pool[vm] { return c.vms },
}

// vmAction is one.vm.action(name, id).
func vmAction(r *request) answer {
	v, refused := vms.find(r, r.int(2), manage)
	if refused != nil {
		return answer{refusal: refused}
	}
	return vms.changed(r, v, r.tx.act(r.who, r.text(1), v))
}

func vmRecover(r *request, v *vm) *refusal { return r.tx.recoverVM(v, r.int(2)) }

func vmUpdate(r *request, v *vm) *refusal {
	if _, err := template.Parse(r.text(2)); err != nil {
		return refuse(opennebula.CodeAction, err.Error())
	}
	updated := v.UserTemplate
	refused := r.update(&updated)
	if refused == nil && !updated.BreaksXML() { // else oned reports success, and keeps the old one
		v.setUserTemplate(updated)
	}
	return refused
}

// vmDeploy is one.vm.deploy(vm, host, ...): a pending VM gets a host at once.
func vmDeploy(r *request, v *vm) *refusal {
	if !slices.Contains([]status{pending, hold, stopped, undeployed}, v.status()) {
		return refuse(opennebula.CodeAction, "Deploy action is not available for state "+v.stateName())
	}
	if r.int(2) < 0 || r.int(2) >= len(r.cloud.hosts.all) {
		return notFound("host", r.int(2))
	}
	if v.HalfWritten {
		return refuse(opennebula.CodeInternal, noHistory)
	}
	chosen := r.cloud.hosts.all[r.int(2)]
	if !chosen.fits(v) && r.int(3) != 1 {
		return refuse(opennebula.CodeAction, fmt.Sprintf("Not enough capacity in host %d.", chosen.ID))
	}
	r.tx.afterCall = true
	r.tx.occupy(v, chosen)
	r.tx.afterCall = false
	return nil
}

// scheduledAction is a SCHED_ACTION of a VM.
type scheduledAction struct {
	ID     int    `json:"id"`
	Action string `json:"action"`
	Args   string `json:"args,omitempty"`
	Time   int64  `json:"time"`
	// Done is when it was carried out, -1 before.
	Done    int64  `json:"done"`
	Message string `json:"message,omitempty"`
}

// schedulable are actions that oned can schedule beyond one.vm.action's.
var schedulable = []string{
	"snapshot-create", "snapshot-delete", "snapshot-revert", "disk-snapshot-create",
	"disk-snapshot-delete", "disk-snapshot-revert", "backup",
}

// vmScheduleAdd is one.vm.schedadd; its answer is the action's id.
func vmScheduleAdd(r *request, v *vm) answer {
	if v.State == one.VMDone {
		return answer{refusal: refuse(opennebula.CodeInternal,
			fmt.Sprintf("Unable to create Scheduled Action for Virtual Machine %d, it's in DONE state", v.ID))}
	}
	added, refused := parseScheduled(r.text(2), v.Start)
	if refused != nil {
		return answer{refusal: refused}
	}
	added.ID = r.tx.nextID("schedaction")
	v.Scheduled = append(v.Scheduled, added)
	vms.save(r.tx, v)
	r.tx.db.scheduleAction(v.ID, added)
	return answer{value: added.ID}
}

// parseScheduled reads SCHED_ACTION = [ ACTION = ..., TIME = ... ]; a TIME with
// a + counts from the VM's start.
func parseScheduled(text string, start int64) (scheduledAction, *refusal) {
	parsed, err := template.Parse(text)
	if err != nil {
		return scheduledAction{}, badTemplate(err)
	}
	vectors := parsed.Vectors("SCHED_ACTION")
	if len(vectors) == 0 {
		return scheduledAction{}, refuse(opennebula.CodeAction, "No SCHED_ACTION attribute in template")
	}
	entry := vectors[0].Vector
	name := strings.ToLower(entry.Text("ACTION"))
	if _, known := actions[name]; !known && !slices.Contains(schedulable, name) {
		return scheduledAction{}, refuse(opennebula.CodeAction, name+" is not supported.")
	}
	timeText, relative := strings.CutPrefix(strings.TrimSpace(entry.Text("TIME")), "+")
	at, err := strconv.ParseInt(timeText, 10, 64)
	if err != nil {
		return scheduledAction{}, refuse(opennebula.CodeAction, "Unable to parse the time value or value is empty: "+timeText)
	}
	if relative {
		at += start
	}
	return scheduledAction{Action: name, Args: entry.Text("ARGS"), Time: at, Done: -1}, nil
}

func vmScheduleDelete(r *request, v *vm) *refusal {
	i := slices.IndexFunc(v.Scheduled, func(a scheduledAction) bool { return a.ID == r.int(2) })
	if i < 0 {
		return notFound("scheduled action", r.int(2))
	}
	v.Scheduled = slices.Concat(v.Scheduled[:i], v.Scheduled[i+1:])
	return nil
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
		if v == nil {
			continue
		}
		v = v.stored(at)
		matches := state == opennebula.StateAny || state == opennebula.StateNotDone && v.State != one.VMDone || state == int(v.State)
		if matches && r.who.listed(r.int(1), &v.object) {
			found = append(found, v)
		}
	}
	if wanted.end < -1 {
		from := min(max(wanted.start, 0), len(found))
		found = found[from:min(from-wanted.end, len(found))]
	}
	return found
}

// vmPool returns a pool call that writes each VM so.
func vmPool(write func(v *vm, w *xmlrpc.Writer)) func(r *request) answer {
	return func(r *request) answer {
		return xmlAnswer("VM_POOL", func(w *xmlrpc.Writer) {
			found := poolVMs(r)
			for i, v := range found {
				w.Open("VM")
				write(v, w)
				w.Shut("VM")
				if i == 0 { // the others are about as long
					w.Grow(min(len(found)*w.Len(), xmlrpc.MaxKept))
				}
			}
		})
	}
}

// vmPoolMonitoring is one.vmpool.monitoring(filter, seconds): the last figures
// of every running VM, whatever the seconds. The call is published with its answer.
func vmPoolMonitoring(r *request) answer {
	return answer{value: xmlrpc.Text("MONITORING_DATA", func(w *xmlrpc.Writer) {
		for _, id := range r.cloud.vms.ids() {
			if v := r.cloud.vms[id]; v.status() == running && r.who.listed(r.int(1), &v.object) {
				w.Open("MONITORING")
				v.writeMonitoring(w, now())
				w.Shut("MONITORING")
			}
		}
	})}
}
