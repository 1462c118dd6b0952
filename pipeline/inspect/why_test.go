package inspect

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/pipeline/history"
)

// deploying is the record of a service whose only role waits for a VM.
func deploying(service, vm int) pipeline.Record {
	state, role := spec.ServiceDeploying, spec.RoleDeploying
	return pipeline.Record{
		State: flow.State{Service: spec.Service{ID: service, Owner: one.Identity{UName: "anna"}, Body: spec.Body{
			Name: "web", State: &state,
			Roles: []spec.Role{
				{Name: "Master", Cardinality: 1, State: &role, Nodes: []spec.Node{spec.NewNode(one.VM{ID: vm})}},
				{Name: "Slave", Cardinality: 2},
			},
			Log: []spec.LogEntry{{Timestamp: 1_900_000_000, Message: "New state: DEPLOYING"}},
		}}},
		Timers: map[string]pipeline.TimerState{"look": {Generation: 1, Due: time.Unix(1_900_000_060, 0)}},
	}
}

func TestWhyTellsHowAServiceCameToItsState(t *testing.T) {
	p, ctx := single(t), limited(t)
	if _, err := p.Why(ctx, 42, nil); !errors.Is(err, pipeline.ErrNotFound) {
		t.Errorf("a service that NATS does not know: %v", err)
	}
	_, err := p.SaveRecord(ctx, 42, deploying(42, 21), 0)
	must(t, err)
	why, err := p.Why(ctx, 42, nil)
	must(t, err)
	if why.State != "DEPLOYING" || why.Name != "web" || why.Owner != "anna" || why.Since.IsZero() || why.Since.Unix() != 1_900_000_000 ||
		len(why.Roles) != 2 || why.Roles[0] != (RoleStatus{"Master", "DEPLOYING", 1, 1}) || why.Roles[1].State != "PENDING" || why.Timers["look"].Unix() != 1_900_000_060 {
		t.Errorf("from the record alone: %+v", why)
	}
	before := why.Summary
	lease, err := feeds.New(p.Pipeline).Acquire(ctx, "fe1", "bridge", 0)
	must(t, err)
	failed := vmEvent(21, 42, false)
	failed.Event.VM.LCMState, failed.Event.LCMState = one.LCMBootFailure, "BOOT_FAILURE"
	must(t, lease.Publish(ctx, []feeds.Event{failed}))
	all := history.New(p.Pipeline)
	var path []pipeline.Transition
	for range keptPath {
		path = append(path, transition(42, "WARNING"))
	}
	deploy := transition(42, "DEPLOYING")
	deploy.Cause = pipeline.Cause{Kind: "command", ID: "deploy c1", User: "anna"}
	must(t, all.PublishTransitions(ctx, append(path, deploy), 1))
	must(t, all.PublishTransitions(ctx, []pipeline.Transition{transition(7, "RUNNING")}, 1))
	why, err = p.Why(ctx, 42, nil)
	must(t, err)
	if len(why.Path) != keptPath || why.Cause == nil || why.Cause.User != "anna" || !strings.Contains(why.Summary, "anna requested deploy") {
		t.Errorf("with its history: %+v", why)
	}
	if why.Summary == before || !strings.Contains(why.Summary+strings.Join(messagesOf(why), " "), "BOOT_FAILURE") {
		t.Errorf("what was heard of the VM is not told: %s %v", why.Summary, messagesOf(why))
	}
	ending := transition(42, "UNDEPLOYING")
	ending.Reason, ending.Cause = "it waited for too long", pipeline.Cause{Kind: "timer", ID: "stay"}
	path = append([]pipeline.Transition{ending}, path...)
	must(t, all.PublishTransitions(ctx, append(path, transition(42, pipeline.Deleted)), keptPath+2))
	why, err = p.Why(ctx, 42, nil)
	if must(t, err); why.Since.IsZero() || why.Reason != ending.Reason || why.Cause.Text() != "a deadline passed" || len(why.Path) != keptPath {
		t.Errorf("of one that a deadline has ended: %+v", why)
	}
	if why.State != pipeline.Deleted || len(why.Failed)+len(why.Waits)+len(why.Next) > 0 {
		t.Errorf("after its end: %+v (%v)", why, err)
	}
	if why, err = p.Why(ctx, 7, nil); err != nil || why.Service != 7 || len(why.Path) != 1 {
		t.Errorf("one that has only a history: %+v (%v)", why, err)
	}
}

func messagesOf(why Why) (messages []string) {
	for _, finding := range append(why.Failed, why.Waits...) {
		messages = append(messages, finding.Message)
	}
	return messages
}

// Another's VM of the same number, and what cannot be read, tell nothing of a service.
func TestWhyBelievesEventsOfItsOwnVMsOnly(t *testing.T) {
	p, ctx := single(t), limited(t)
	_, err := p.SaveRecord(ctx, 42, deploying(42, 21), 0)
	must(t, err)
	without, err := p.Why(ctx, 42, nil)
	must(t, err)
	lease, err := feeds.New(p.Pipeline).Acquire(ctx, "fe1", "bridge", 0)
	must(t, err)
	other := vmEvent(21, 7, false)
	other.Event.VM.LCMState = one.LCMBootFailure
	must(t, lease.Publish(ctx, []feeds.Event{other}))
	_, err = p.JetStream().Publish(ctx, pipeline.VMSubject(0, 21, "X", "Y"), []byte("<xml>"))
	must(t, err)
	with, err := p.Why(ctx, 42, nil)
	must(t, err)
	if with.Summary != without.Summary {
		t.Errorf("told is %q, and %q without the events", with.Summary, without.Summary)
	}
}

func TestADocumentThatCannotBeReadIsExplained(t *testing.T) {
	why := Unreadable(42, "web", "anna", errors.New("no JSON"))
	if why.State != "UNREADABLE" || !strings.Contains(why.Summary, "no JSON") || len(why.Failed) != 1 || len(why.Next) != 1 {
		t.Errorf("%+v", why)
	}
}
