package one_test

import (
	"testing"

	"github.com/flowjet/flowjet/flow/one"
)

func TestInspectionReadsTheHistory(t *testing.T) {
	record := func(start string) one.Attribute {
		return one.Attribute{Name: "HISTORY", Vector: one.Template{{Name: "PSTIME", Value: start}, {Name: "RSTIME", Value: "0"}}}
	}
	tree := one.Template{
		{Name: "STATE", Value: "3"}, {Name: "LCM_STATE", Value: "1"},
		{Name: "USER_TEMPLATE", Vector: one.Template{{Name: "SCHED_MESSAGE", Value: "no host"}}},
		{Name: "HISTORY_RECORDS", Vector: one.Template{record("1700000000"), record("1700000100")}},
	}
	prolog := one.VM{ID: 1, State: one.VMActive, LCMState: one.LCMProlog}
	if got := one.Inspect(prolog, tree); got == nil || got.Since.Unix() != 1700000100 || got.Scheduler != "no host" {
		t.Errorf("in PROLOG: %+v", got)
	}
	if got := one.Inspect(one.VM{ID: 1, State: one.VMPending}, tree); got != nil {
		t.Errorf("of a VM that has moved on: %+v", got)
	}
}
