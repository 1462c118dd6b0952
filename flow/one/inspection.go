package one

import (
	"strconv"
	"strings"
	"time"
)

// Inspection is what a VM's whole XML tells besides its state.
type Inspection struct {
	// Since is when the VM came to its state; zero where nobody knows.
	Since time.Time
	// Scheduler is USER_TEMPLATE/SCHED_MESSAGE, and Error USER_TEMPLATE/ERROR.
	Scheduler, Error string
}

// Inspect reads an Inspection of the VM from its XML; nil where it has moved on since.
func Inspect(vm VM, tree Template) *Inspection {
	state, _ := tree.Lookup("STATE")
	lcmState, _ := tree.Lookup("LCM_STATE")
	if state != strconv.Itoa(int(vm.State)) || lcmState != strconv.Itoa(int(vm.LCMState)) {
		return nil
	}
	scheduler, _ := tree.Lookup("USER_TEMPLATE", "SCHED_MESSAGE")
	failure, _ := tree.Lookup("USER_TEMPLATE", "ERROR")
	inspection := &Inspection{Scheduler: strings.TrimSpace(scheduler), Error: strings.TrimSpace(failure)}
	times := map[LCMState]string{LCMInit: "STIME", LCMProlog: "PSTIME", LCMBoot: "RSTIME", LCMEpilog: "ESTIME"}
	name, noted := times[vm.LCMState]
	if vm.State != VMActive || !noted {
		return inspection
	}
	second, _ := lastHistory(tree).Lookup(name)
	if seconds, err := strconv.ParseInt(second, 10, 64); err == nil && seconds > 0 {
		inspection.Since = time.Unix(seconds, 0).UTC()
	}
	return inspection
}

// lastHistory is the last of a VM's history records.
func lastHistory(tree Template) Template {
	var last Template
	for _, attribute := range tree {
		if strings.EqualFold(attribute.Name, "HISTORY_RECORDS") && len(attribute.Vector) > 0 {
			last = attribute.Vector[len(attribute.Vector)-1].Vector
		}
	}
	return last
}
