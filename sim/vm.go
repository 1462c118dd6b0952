package sim

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/opennebula"
)

// vm is one virtual machine.
type vm struct {
	object
	vmTexts     `json:"-"`
	State       opennebula.VMState  `json:"state"`
	LCM         opennebula.LCMState `json:"lcm"`
	PrevState   opennebula.VMState  `json:"prev_state"`
	PrevLCM     opennebula.LCMState `json:"prev_lcm"`
	Rescheduled bool                `json:"resched,omitempty"`
	Start       int64               `json:"start"`
	End         int64               `json:"end"`
	DeployID    string              `json:"deploy_id"`
	History     []history           `json:"history,omitempty"`
	Scheduled   []scheduledAction   `json:"scheduled,omitempty"`
	// Monitoring are figures that were set by hand; they take the place of made-up ones.
	Monitoring map[string]string `json:"monitoring,omitempty"`
	// Origin is STOPPED or UNDEPLOYED while a VM comes back from there.
	Origin opennebula.VMState `json:"origin,omitempty"`
	// Host is the host whose capacity the VM holds, -1 without one.
	Host int `json:"host"`
	// Wanted is a host that one.vm.deploy asked for, -1 without one.
	Wanted int `json:"wanted"`

	// HalfWritten: the leader ended while it gave the VM a host, which no server
	// can do since then.
	HalfWritten bool `json:"half_written,omitempty"`

	// paused: its boot waits for the end of a pause.
	paused bool
	// generation makes timers of an earlier state void.
	generation uint64
}

// vmTexts are what seldom changes of a VM and is most of it. They are a record
// of their own: a change of state does not write them again.
type vmTexts struct {
	Template     template `json:"template"`
	UserTemplate template `json:"user_template"`

	// unsaved: they are not in the state file as they are here.
	unsaved bool
}

func (v *vmTexts) setTemplate(t template) { v.Template, v.unsaved = t, true }

func (v *vmTexts) setUserTemplate(t template) { v.UserTemplate, v.unsaved = t, true }

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

// last is the current stay, nil before the first.
func (v *vm) last() *history {
	if len(v.History) == 0 {
		return nil
	}
	return &v.History[len(v.History)-1]
}

func (v *vm) status() status { return status{v.State, v.LCM} }

// stateName is the name that oned's refusals give: the life-cycle state of an
// active VM, else the state.
func (v *vm) stateName() string {
	if v.State == vmActive {
		return v.LCM.String()
	}
	return v.State.String()
}

// service is USER_TEMPLATE/SERVICE_ID, "" without one.
func (v *vm) service() string { return v.UserTemplate.text("SERVICE_ID") }

// show writes the VM as one.vm.info does.
func (v *vm) show(b *xmlWriter) { v.write(b, true) }

// unshare gives a copy a history, scheduled actions and figures of its own.
func (v *vm) unshare() {
	v.History, v.Scheduled, v.Monitoring = slices.Clone(v.History), slices.Clone(v.Scheduled), maps.Clone(v.Monitoring)
}

// write writes the VM as one.vm.info and the hook events show it; monitored
// adds the driver's figures, which only one.vm.info has.
func (v *vm) write(b *xmlWriter, monitored bool) {
	open(b, "VM")
	v.headAndPermissions(b)
	v.writeStatus(b, monitored)
	v.writeTemplate(b)
	v.UserTemplate.write(b, "USER_TEMPLATE")
	v.writeHistory(b, v.History)
	markup(b, "<BACKUPS><BACKUP_CONFIG/><BACKUP_IDS></BACKUP_IDS></BACKUPS>")
	shut(b, "VM")
}

func (v *vm) writeStatus(b *xmlWriter, monitored bool) {
	monitored = monitored && v.monitored()
	lastPoll := int64(0)
	if monitored {
		lastPoll = now()
	}
	moment(b, "LAST_POLL", lastPoll)
	number(b, "STATE", int(v.State))
	number(b, "LCM_STATE", int(v.LCM))
	number(b, "PREV_STATE", int(v.PrevState))
	number(b, "PREV_LCM_STATE", int(v.PrevLCM))
	resched := 0
	if v.Rescheduled {
		resched = 1
	}
	number(b, "RESCHED", resched)
	moment(b, "STIME", v.Start)
	moment(b, "ETIME", v.End)
	element(b, "DEPLOY_ID", v.DeployID)
	open(b, "MONITORING")
	if monitored {
		v.writeMonitoring(b, lastPoll)
	}
	shut(b, "MONITORING")
	identifiers(b, "SCHED_ACTIONS", v.scheduledIDs())
}

// monitored reports whether the driver would report figures.
func (v *vm) monitored() bool { return v.status() == active(lcmRunning) }

// writeMonitoring makes figures up that depend on nothing but the VM's id, where
// none were set by hand.
func (v *vm) writeMonitoring(b *xmlWriter, at int64) {
	figures := []struct {
		name  string
		value int64
	}{
		{"CPU", 0}, {"DISKRDBYTES", int64(v.ID)*7%1000 + 1}, {"DISKRDIOPS", int64(v.ID)*3%1000 + 1},
		{"DISKWRBYTES", int64(v.ID)*5%1000 + 1}, {"DISKWRIOPS", int64(v.ID)*11%1000 + 1},
		{"ID", int64(v.ID)}, {"MEMORY", 4096 + int64(v.ID)*13%16384},
		{"NETRX", 2000 + int64(v.ID)%100}, {"NETTX", 3000 + int64(v.ID)%100}, {"TIMESTAMP", at},
	}
	for _, figure := range figures {
		if _, byHand := v.Monitoring[figure.name]; !byHand {
			cdata(b, figure.name, strconv.FormatInt(figure.value, 10))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.Monitoring)) {
		cdata(b, name, v.Monitoring[name])
	}
}

// writeTemplate writes TEMPLATE: the template, then the scheduled actions.
func (v *vm) writeTemplate(b *xmlWriter) {
	open(b, "TEMPLATE")
	v.Template.writeContent(b)
	for i := range v.Scheduled {
		v.Scheduled[i].write(b, v.ID)
	}
	shut(b, "TEMPLATE")
}

func (v *vm) writeHistory(b *xmlWriter, stays []history) {
	if len(stays) == 0 {
		markup(b, "<HISTORY_RECORDS/>")
		return
	}
	open(b, "HISTORY_RECORDS")
	for _, stay := range stays {
		stay.write(b, v.ID)
	}
	shut(b, "HISTORY_RECORDS")
}

func (h *history) write(b *xmlWriter, vmID int) {
	open(b, "HISTORY")
	number(b, "OID", vmID)
	number(b, "SEQ", h.Sequence)
	element(b, "HOSTNAME", h.Host)
	number(b, "HID", h.HostID)
	number(b, "CID", 0)
	moment(b, "STIME", h.Start)
	moment(b, "ETIME", h.End)
	cdata(b, "VM_MAD", dummyDriver)
	cdata(b, "TM_MAD", dummyDriver)
	number(b, "DS_ID", 0)
	number(b, "PLAN_ID", h.PlanID)
	number(b, "ACTION_ID", h.ActionID)
	moment(b, "PSTIME", h.PrologStart)
	moment(b, "PETIME", h.PrologEnd)
	moment(b, "RSTIME", h.RunningStart)
	moment(b, "RETIME", h.RunningEnd)
	moment(b, "ESTIME", h.EpilogStart)
	moment(b, "EETIME", h.EpilogEnd)
	number(b, "ACTION", h.Action)
	number(b, "UID", h.ActionUID)
	number(b, "GID", h.ActionGID)
	number(b, "REQUEST_ID", h.ActionRequest)
	shut(b, "HISTORY")
}

// writeShort writes the VM as one.vmpool.info shows it: without the user
// template, so without the service it belongs to.
func (v *vm) writeShort(b *xmlWriter) {
	open(b, "VM")
	v.head(b)
	moment(b, "LAST_POLL", 0)
	number(b, "STATE", int(v.State))
	number(b, "LCM_STATE", int(v.LCM))
	resched := 0
	if v.Rescheduled {
		resched = 1
	}
	number(b, "RESCHED", resched)
	moment(b, "STIME", v.Start)
	moment(b, "ETIME", v.End)
	element(b, "DEPLOY_ID", v.DeployID)
	v.shortTemplate().write(b, "TEMPLATE")
	markup(b, "<MONITORING/><USER_TEMPLATE></USER_TEMPLATE>")
	stays := v.History
	if len(stays) > 1 {
		stays = stays[len(stays)-1:]
	}
	v.writeHistory(b, stays)
	shut(b, "VM")
}

func (v *vm) shortTemplate() template {
	var short template
	for _, a := range v.Template {
		if slices.Contains([]string{"CPU", "MEMORY", "NIC", "GRAPHICS"}, a.Name) || strings.HasPrefix(a.Name, "AUTOMATIC_") {
			short = append(short, a)
		}
	}
	return short
}

// dummyDriver is the name of the drivers of the recorded cloud.
const dummyDriver = "dummy"
