package sim

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// show writes the VM as one.vm.info does.
func (v *vm) show(b *xmlWriter) { v.stored(time.Now()).write(b, true) }

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
