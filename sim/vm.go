package sim

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

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

	// placing: it is pending, and the scheduler has chosen it.
	placing bool
	// paused: its boot waits for the end of a pause.
	paused bool
	// generation makes timers of an earlier state void.
	generation uint64
	// former is what reads show of the VM until then: its last step is not written yet.
	former former
}

// former is the state that an object had, and until when oned reads it from its database:
// it sends the event of a change and writes the change then.
type former struct {
	status, before status
	until          time.Time
}

// stored is the VM as oned reads it from its database.
func (v *vm) stored(at time.Time) *vm {
	if !at.Before(v.former.until) {
		return v
	}
	earlier := *v
	earlier.State, earlier.LCM = v.former.status.state, v.former.status.lcm
	earlier.PrevState, earlier.PrevLCM = v.former.before.state, v.former.before.lcm
	return &earlier
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

func (v *vm) hostName() string {
	if stay := v.last(); stay != nil && v.State != vmPending && v.State != vmHold {
		return stay.Host
	}
	return ""
}

// unshare gives a copy a history, scheduled actions and figures of its own.
func (v *vm) unshare() {
	v.History, v.Scheduled, v.Monitoring = slices.Clone(v.History), slices.Clone(v.Scheduled), maps.Clone(v.Monitoring)
}

// monitored reports whether the driver would report figures.
func (v *vm) monitored() bool { return v.status() == active(lcmRunning) }

// matches reports whether the VM is in the state that a pool call asks for.
func (v *vm) matches(state int) bool {
	return state == opennebula.StateAny || state == opennebula.StateNotDone && v.State != vmDone || state == int(v.State)
}

// size is what a VM takes of a host: hundredths of a CPU and MiB.
func (v *vm) size() (cpu, memory int) {
	cores, err := strconv.ParseFloat(strings.TrimSpace(v.Template.text("CPU")), 64)
	if err != nil {
		cores = 1
	}
	return int(math.Ceil(cores * 100)), v.Template.number("MEMORY", 0)
}

func (v *vm) scheduledIDs() []int {
	ids := make([]int, 0, len(v.Scheduled))
	for _, a := range v.Scheduled {
		ids = append(ids, a.ID)
	}
	return ids
}

// variables are what $NAME in a context may stand for: the VM's head and its
// own and the user's single attributes.
func (v *vm) variables(own template) template {
	return template{
		single("NAME", v.Name), single("VMID", itoa(v.ID)), single("UID", itoa(v.UID)), single("UNAME", v.UName),
		single("GID", itoa(v.GID)), single("GNAME", v.GName),
	}.with(own...).with(v.UserTemplate...)
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
