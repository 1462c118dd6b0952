package inspect

import (
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
)

func TestServicesAreCountedByState(t *testing.T) {
	p, ctx := single(t), limited(t)
	now := time.Now()
	for id, service := range []struct {
		state spec.ServiceState
		age   time.Duration
		ended bool
	}{
		{spec.ServiceRunning, 24 * time.Hour, false},
		{spec.ServiceRunning, time.Minute, false},
		{spec.ServiceFailedDeploying, time.Hour, false},
		{spec.ServiceDeploying, time.Minute, false},
		{spec.ServiceDeploying, 31 * time.Minute, false},
		{spec.ServiceCooldown, time.Hour, false},
		{spec.ServiceHold, time.Hour, false},
		{spec.ServiceDone, time.Hour, true},
		{spec.ServiceState(4711), time.Hour, false},
	} {
		body := spec.Body{State: &service.state, Log: []spec.LogEntry{
			{Timestamp: now.Add(-service.age).Unix(), Severity: "I", Message: "New state: " + service.state.String()},
			{Timestamp: now.Unix(), Severity: "I", Message: "another entry"},
		}}
		record := pipeline.Record{State: flow.State{Service: spec.Service{ID: id, Body: body}}, Deleted: service.ended}
		_, err := p.SaveRecord(ctx, id, record, 0)
		must(t, err)
	}
	counts, err := CountServices(ctx, p.Pipeline)
	must(t, err)
	if counts.Stuck != 1 {
		t.Errorf("%d are stuck, of which one has been DEPLOYING for 31 minutes", counts.Stuck)
	}
	wanted := map[spec.ServiceState]int{}
	for _, state := range spec.ServiceStates() {
		wanted[state] = 0
	}
	wanted[spec.ServiceRunning], wanted[spec.ServiceFailedDeploying], wanted[spec.ServiceDeploying] = 2, 1, 2
	wanted[spec.ServiceCooldown], wanted[spec.ServiceHold] = 1, 1
	if fmt.Sprint(counts.States) != fmt.Sprint(wanted) {
		t.Errorf("by state they are %v, not %v", counts.States, wanted)
	}
}
