package sim

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// vm is one virtual machine.
type vm struct {
	object
	State        one.VMState       `json:"state"`
	LCM          one.LCMState      `json:"lcm"`
	PrevState    one.VMState       `json:"prev_state"`
	PrevLCM      one.LCMState      `json:"prev_lcm"`
	Rescheduled  bool              `json:"resched,omitempty"`
	Start        int64             `json:"start"`
	End          int64             `json:"end"`
	DeployID     string            `json:"deploy_id"`
	History      []history         `json:"history,omitempty"`
	Scheduled    []scheduledAction `json:"scheduled,omitempty"`
	Template     template.Template `json:"template"`
	UserTemplate template.Template `json:"user_template"`
	Monitoring   map[string]string `json:"monitoring,omitempty"` // figures that were set by hand; they replace made-up ones
	Origin       one.VMState       `json:"origin,omitempty"`     // STOPPED or UNDEPLOYED while a VM comes back from that state
	Host         int               `json:"host"`                 // the host whose capacity the VM holds, -1 without one
	// HalfWritten: the leader ended while it gave the VM a host; no server can do that since.
	HalfWritten bool `json:"half_written,omitempty"`

	placing    bool   // it is pending, and the scheduler has chosen it
	paused     bool   // its boot waits for the end of a pause
	generation uint64 // makes timers of an earlier state void
	// unwritten is until when reads show the previous state: oned sends the event of a change, and then writes the change.
	unwritten          time.Time
	former, formerPrev status
}

// stored returns the VM as oned reads it from its database.
func (v *vm) stored(at time.Time) *vm {
	if !at.Before(v.unwritten) {
		return v
	}
	earlier := *v
	earlier.State, earlier.LCM = v.former.state, v.former.lcm
	earlier.PrevState, earlier.PrevLCM = v.formerPrev.state, v.formerPrev.lcm
	return &earlier
}

// history is one stay of a VM on a host.
type history struct {
	Sequence, HostID                            int
	Host                                        string
	Start, End                                  int64
	PlanID, ActionID                            int
	PrologStart, PrologEnd, RunningStart        int64
	RunningEnd, EpilogStart, EpilogEnd          int64
	Action, ActionUID, ActionGID, ActionRequest int
}

func newHistory(sequence int, h *host) history {
	return history{
		Sequence: sequence, HostID: h.ID, Host: h.Name, PlanID: -2, ActionID: -1,
		ActionUID: -1, ActionGID: -1, ActionRequest: -1,
	}
}

// last returns the current stay, nil before the first.
func (v *vm) last() *history {
	if len(v.History) == 0 {
		return nil
	}
	return &v.History[len(v.History)-1]
}

func (v *vm) status() status { return status{v.State, v.LCM} }

// stateName returns the name in oned's refusals: the life-cycle state of an active VM, else the state.
func (v *vm) stateName() string {
	if v.State == one.VMActive {
		return v.LCM.String()
	}
	return v.State.String()
}

func (v *vm) hostName() string {
	if stay := v.last(); stay != nil && v.State != one.VMPending && v.State != one.VMHold {
		return stay.Host
	}
	return ""
}

// unshare gives a copy its own history, scheduled actions and figures.
func (v *vm) unshare() {
	v.History, v.Scheduled, v.Monitoring = slices.Clone(v.History), slices.Clone(v.Scheduled), maps.Clone(v.Monitoring)
}

// size returns the VM's use of a host: hundredths of a CPU and MiB.
func (v *vm) size() (cpu, memory int) {
	cores, err := strconv.ParseFloat(strings.TrimSpace(v.Template.Text("CPU")), 64)
	if err != nil {
		cores = 1
	}
	return int(math.Ceil(cores * 100)), v.Template.Number("MEMORY", 0)
}

// dummyDriver is the name of the drivers of the recorded cloud.
const dummyDriver = "dummy"

// show writes the VM as one.vm.info does.
func (v *vm) show(w *xmlrpc.Writer) { v.stored(time.Now()).write(w, true) }

// writeLong writes the VM as one.vmpool.infoextended and the hook events do.
func (v *vm) writeLong(w *xmlrpc.Writer) { v.write(w, false) }

// write writes the VM; monitored adds the driver's figures, which only one.vm.info has.
func (v *vm) write(w *xmlrpc.Writer, monitored bool) {
	v.headAndPermissions(w)
	monitored = monitored && v.status() == running
	lastPoll := int64(0)
	if monitored {
		lastPoll = now()
	}
	w.Fields("LAST_POLL", lastPoll, "STATE", int(v.State), "LCM_STATE", int(v.LCM), "PREV_STATE", int(v.PrevState),
		"PREV_LCM_STATE", int(v.PrevLCM), "RESCHED", v.Rescheduled, "STIME", v.Start, "ETIME", v.End, "DEPLOY_ID", v.DeployID)
	w.Open("MONITORING")
	if monitored {
		v.writeMonitoring(w, lastPoll)
	}
	w.Shut("MONITORING")
	w.Open("SCHED_ACTIONS")
	for _, action := range v.Scheduled {
		w.Fields("ID", action.ID)
	}
	w.Shut("SCHED_ACTIONS")
	w.Open("TEMPLATE")
	v.Template.WriteContent(w)
	for _, action := range v.Scheduled {
		w.Group("SCHED_ACTION",
			"ID", action.ID, "PARENT_ID", v.ID, "TYPE", "VM", "ACTION", action.Action, "ARGS", action.Args, "TIME", action.Time,
			"REPEAT", -1, "DAYS", "", "END_TYPE", -1, "END_VALUE", -1, "DONE", action.Done, "MESSAGE", action.Message, "WARNING", 0)
	}
	w.Shut("TEMPLATE")
	v.UserTemplate.Write(w, "USER_TEMPLATE")
	v.writeHistory(w)
	w.WriteString("<BACKUPS><BACKUP_CONFIG/><BACKUP_IDS></BACKUP_IDS></BACKUPS>")
}

// writeMonitoring makes up figures that depend only on the VM's id, unless some were set by hand.
func (v *vm) writeMonitoring(w *xmlrpc.Writer, at int64) {
	for _, figure := range template.Of(
		"CPU", "0", "DISKRDBYTES", itoa(v.ID*7%1000+1), "DISKRDIOPS", itoa(v.ID*3%1000+1),
		"DISKWRBYTES", itoa(v.ID*5%1000+1), "DISKWRIOPS", itoa(v.ID*11%1000+1), "ID", itoa(v.ID), "MEMORY", itoa(4096+v.ID*13%16384),
		"NETRX", itoa(2000+v.ID%100), "NETTX", itoa(3000+v.ID%100), "TIMESTAMP", itoa(int(at)),
	) {
		if _, byHand := v.Monitoring[figure.Name]; !byHand {
			w.Fields(figure.Name, cdata(figure.Value))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.Monitoring)) {
		w.Fields(name, cdata(v.Monitoring[name]))
	}
}

func (v *vm) writeHistory(w *xmlrpc.Writer) {
	if len(v.History) == 0 {
		w.WriteString("<HISTORY_RECORDS/>")
		return
	}
	w.Open("HISTORY_RECORDS")
	for i := range v.History {
		h := &v.History[i]
		w.Group("HISTORY", "OID", v.ID, "SEQ", h.Sequence, "HOSTNAME", h.Host, "HID", h.HostID, "CID", 0, "STIME", h.Start, "ETIME", h.End,
			"VM_MAD", cdata(dummyDriver), "TM_MAD", cdata(dummyDriver), "DS_ID", 0, "PLAN_ID", h.PlanID, "ACTION_ID", h.ActionID,
			"PSTIME", h.PrologStart, "PETIME", h.PrologEnd, "RSTIME", h.RunningStart, "RETIME", h.RunningEnd,
			"ESTIME", h.EpilogStart, "EETIME", h.EpilogEnd,
			"ACTION", h.Action, "UID", h.ActionUID, "GID", h.ActionGID, "REQUEST_ID", h.ActionRequest)
	}
	w.Shut("HISTORY_RECORDS")
}

var vms = class[vm, *vm]{kind: kindVM, words: "virtual machine", label: "VM", element: "VM"}

// vmAction is one.vm.action(name, id).
func vmAction(r *request) any {
	v := vms.find(r, r.int(2), manage)
	r.tx.act(r.who, r.text(1), v)
	return vms.save(r.tx, v)
}

func vmUpdate(r *request, v *vm) {
	r.parsed(2, opennebula.CodeAction, "")
	updated := v.UserTemplate
	r.update(&updated)
	if !updated.BreaksXML() { // else oned reports success, and keeps the old template
		v.UserTemplate = updated
	}
}

// vmDeploy is one.vm.deploy(vm, host, ...): a pending VM gets a host at once.
func vmDeploy(r *request, v *vm) {
	refuseIf(!slices.Contains([]status{pending, hold, stopped, undeployed}, v.status()),
		opennebula.CodeAction, "Deploy action is not available for state "+v.stateName())
	if r.int(2) < 0 || r.int(2) >= len(r.cloud.hosts.all) {
		notFound("host", r.int(2))
	}
	refuseIf(v.HalfWritten, opennebula.CodeInternal, noHistory)
	chosen := r.cloud.hosts.all[r.int(2)]
	refuseIf(!chosen.fits(v) && r.int(3) != 1, opennebula.CodeAction, fmt.Sprintf("Not enough capacity in host %d.", chosen.ID))
	r.tx.afterCall = true
	r.tx.occupy(v, chosen)
	r.tx.afterCall = false
}

// scheduledAction is a SCHED_ACTION of a VM.
type scheduledAction struct {
	ID      int    `json:"id"`
	Action  string `json:"action"`
	Args    string `json:"args,omitempty"`
	Time    int64  `json:"time"`
	Done    int64  `json:"done"` // when it was carried out, -1 before
	Message string `json:"message,omitempty"`
}

// schedulable are the actions beyond one.vm.action's that oned can schedule.
var schedulable = []string{
	"snapshot-create", "snapshot-delete", "snapshot-revert", "disk-snapshot-create",
	"disk-snapshot-delete", "disk-snapshot-revert", "backup",
}

// vmScheduleAdd is one.vm.schedadd with SCHED_ACTION = [ ACTION = ..., TIME = ... ]; a TIME with a + counts from the VM's
// start. It returns the action's id.
func vmScheduleAdd(r *request, v *vm) any {
	refuseIf(v.State == one.VMDone,
		opennebula.CodeInternal, fmt.Sprintf("Unable to create Scheduled Action for Virtual Machine %d, it's in DONE state", v.ID))
	vectors := r.template(2).Vectors("SCHED_ACTION")
	refuseIf(len(vectors) == 0, opennebula.CodeAction, "No SCHED_ACTION attribute in template")
	entry := vectors[0].Vector
	name := strings.ToLower(entry.Text("ACTION"))
	_, known := actions[name]
	refuseIf(!known && !slices.Contains(schedulable, name), opennebula.CodeAction, name+" is not supported.")
	timeText, relative := strings.CutPrefix(strings.TrimSpace(entry.Text("TIME")), "+")
	at, err := strconv.ParseInt(timeText, 10, 64)
	refuseIf(err != nil, opennebula.CodeAction, "Unable to parse the time value or value is empty: "+timeText)
	if relative {
		at += v.Start
	}
	added := scheduledAction{ID: r.tx.nextID("schedaction"), Action: name, Args: entry.Text("ARGS"), Time: at, Done: -1}
	v.Scheduled = append(v.Scheduled, added)
	vms.save(r.tx, v)
	r.tx.db.scheduleAction(v.ID, added)
	return added.ID
}

func vmScheduleDelete(r *request, v *vm) {
	i := slices.IndexFunc(v.Scheduled, func(a scheduledAction) bool { return a.ID == r.int(2) })
	if i < 0 {
		notFound("scheduled action", r.int(2))
	}
	v.Scheduled = slices.Concat(v.Scheduled[:i], v.Scheduled[i+1:])
}

// vmPool is one.vmpool.infoextended(filter, start, end, state).
func vmPool(r *request) any {
	state, at := r.intOr(4, opennebula.StateNotDone), time.Now()
	found := vms.page(r, func(v *vm) bool {
		is := v.stored(at).State
		matches := state == opennebula.StateAny || state == opennebula.StateNotDone && is != one.VMDone || state == int(is)
		return matches && r.who.listed(r.int(1), &v.object)
	})
	return xmlrpc.Text("VM_POOL", func(w *xmlrpc.Writer) {
		for _, v := range found {
			w.Within("VM", v.stored(at).writeLong)
		}
	})
}

// vmPoolMonitoring is one.vmpool.monitoring(filter, seconds): the last figures of every running VM, for any number of
// seconds. The call is published with its answer.
func vmPoolMonitoring(r *request) any {
	return xmlrpc.Text("MONITORING_DATA", func(w *xmlrpc.Writer) {
		for _, id := range r.cloud.vms.ids() {
			if v := r.cloud.vms[id]; v.status() == running && r.who.listed(r.int(1), &v.object) {
				w.Open("MONITORING")
				v.writeMonitoring(w, now())
				w.Shut("MONITORING")
			}
		}
	})
}
