package inspect

import (
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

func TestServicesAreCountedByState(t *testing.T) {
	p, ctx := single(t), limited(t)
	now := time.Now()
	for id, service := range []struct {
		state flow.ServiceState
		age   time.Duration
		ended bool
	}{
		{flow.ServiceRunning, 24 * time.Hour, false},
		{flow.ServiceRunning, time.Minute, false},
		{flow.ServiceFailedDeploying, time.Hour, false},
		{flow.ServiceDeploying, time.Minute, false},
		{flow.ServiceDeploying, 31 * time.Minute, false},
		{flow.ServiceCooldown, time.Hour, false},
		{flow.ServiceHold, time.Hour, false},
		{flow.ServiceDone, time.Hour, true},
		{flow.ServiceState(4711), time.Hour, false},
	} {
		body := flow.Body{State: &service.state, Log: []flow.LogEntry{
			{Timestamp: now.Add(-service.age).Unix(), Severity: "I", Message: "New state: " + service.state.String()},
			{Timestamp: now.Unix(), Severity: "I", Message: "another entry"},
		}}
		record := pipeline.Record{State: flow.State{Service: flow.Service{ID: id, Body: body}}, Deleted: service.ended}
		_, err := p.SaveRecord(ctx, id, record, 0)
		must(t, err)
	}
	counts, err := CountServices(ctx, p.Pipeline)
	must(t, err)
	if counts.Stuck != 1 {
		t.Errorf("%d are stuck, of which one has been DEPLOYING for 31 minutes", counts.Stuck)
	}
	wanted := map[flow.ServiceState]int{}
	for _, state := range flow.ServiceStates() {
		wanted[state] = 0
	}
	wanted[flow.ServiceRunning], wanted[flow.ServiceFailedDeploying], wanted[flow.ServiceDeploying] = 2, 1, 2
	wanted[flow.ServiceCooldown], wanted[flow.ServiceHold] = 1, 1
	if fmt.Sprint(counts.States) != fmt.Sprint(wanted) {
		t.Errorf("by state they are %v, not %v", counts.States, wanted)
	}
}
