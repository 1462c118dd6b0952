package history

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

func TestTransitionsAreToldInOrderAndOnce(t *testing.T) {
	p, ctx := single(t), limited(t)
	first := 0
	transitions := []pipeline.Transition{
		{Service: 42, Change: flow.Change{Kind: "role", Role: "Master", Old: "PENDING", New: "DEPLOYING"}},
		{Service: 42, Change: flow.Change{Kind: "vm", VM: &first, Role: "Master", New: "created"}},
		{Service: 42, Change: flow.Change{Kind: "service", Old: "PENDING", New: "DEPLOYING"}},
	}
	must(t, p.PublishTransitions(ctx, nil, 1))
	must(t, p.PublishTransitions(ctx, transitions[:2], 1))
	must(t, p.PublishTransitions(ctx, transitions, 1))
	for i, subject := range []string{"flow.event.42.role.Master.DEPLOYING", "flow.event.42.vm.0.created", "flow.event.42.service.DEPLOYING"} {
		message, err := p.Client.Stream(pipeline.StreamFlow).Get(ctx, uint64(i+1))
		must(t, err)
		if message.Subject != subject {
			t.Errorf("transition %d is on %s", i, message.Subject)
		}
		if said := strings.Contains(string(message.Data), `"vm":0`); said != (i == 1) {
			t.Errorf("transition %d is %s", i, message.Data)
		}
	}
	info, err := p.Client.Stream(pipeline.StreamFlow).Info(ctx)
	must(t, err)
	if info.State.Msgs != 3 {
		t.Errorf("%d messages", info.State.Msgs)
	}
}
