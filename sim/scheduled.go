package sim

import (
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/opennebula"
)

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

func (a *scheduledAction) write(b *xmlWriter, vmID int) {
	open(b, "SCHED_ACTION")
	number(b, "ID", a.ID)
	number(b, "PARENT_ID", vmID)
	element(b, "TYPE", "VM")
	element(b, "ACTION", a.Action)
	element(b, "ARGS", a.Args)
	moment(b, "TIME", a.Time)
	number(b, "REPEAT", -1)
	element(b, "DAYS", "")
	number(b, "END_TYPE", -1)
	number(b, "END_VALUE", -1)
	moment(b, "DONE", a.Done)
	element(b, "MESSAGE", a.Message)
	number(b, "WARNING", 0)
	shut(b, "SCHED_ACTION")
}

// schedulable are actions that oned can schedule beyond one.vm.action's.
var schedulable = []string{
	"snapshot-create", "snapshot-delete", "snapshot-revert", "disk-snapshot-create",
	"disk-snapshot-delete", "disk-snapshot-revert", "backup",
}

// parseScheduled reads SCHED_ACTION = [ ACTION = ..., TIME = ... ]; a TIME with
// a + counts from the VM's start.
func parseScheduled(text string, start int64) (scheduledAction, *refusal) {
	parsed, err := parseTemplate(text)
	if err != nil {
		return scheduledAction{}, badTemplate(err)
	}
	vectors := parsed.vectors("SCHED_ACTION")
	if len(vectors) == 0 {
		return scheduledAction{}, refuse(opennebula.CodeAction, "No SCHED_ACTION attribute in template")
	}
	entry := vectors[0].inner()
	name := strings.ToLower(entry.text("ACTION"))
	if _, known := actions[name]; !known && !slices.Contains(schedulable, name) {
		return scheduledAction{}, refuse(opennebula.CodeAction, name+" is not supported.")
	}
	timeText, relative := strings.CutPrefix(strings.TrimSpace(entry.text("TIME")), "+")
	at, err := strconv.ParseInt(timeText, 10, 64)
	if err != nil {
		return scheduledAction{}, refuse(opennebula.CodeAction, "Unable to parse the time value or value is empty: "+timeText)
	}
	if relative {
		at += start
	}
	return scheduledAction{Action: name, Args: entry.text("ARGS"), Time: at, Done: -1}, nil
}

// runScheduled carries a scheduled action out where it still stands.
func runScheduled(t *tx, vmID, actionID int) {
	v := t.cloud.vms[vmID]
	if v == nil || v.State == vmDone || t.db.raft.leader() < 0 {
		return
	}
	for i := range v.Scheduled {
		entry := &v.Scheduled[i]
		if entry.ID != actionID || entry.Done >= 0 {
			continue
		}
		entry.Done = now()
		if r := t.act(scheduler(t.cloud), entry.Action, v); r != nil {
			entry.Message = r.message
		}
		t.keepVM(v)
		return
	}
}

// scheduler is who carries scheduled actions out: oneadmin.
func scheduler(c *cloud) identity {
	u := c.users[0]
	return identity{user: u, gid: u.GID, groups: u.Groups}
}
