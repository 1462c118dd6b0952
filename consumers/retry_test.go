package consumers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// failing has oned refuse so many calls of a method with a reason.
func (w *world) failing(method string, count int, code opennebula.Code, reason string) {
	w.t.Helper()
	must(w.t, w.sim.FailCall(sim.CallFailure{Method: method, Count: count, Code: code, Message: reason}))
}

// forever is more often than any test calls.
const forever = 1 << 20

// allocating is what oned says when its database refuses, as it does in an election.
const allocating = "Error allocating a new virtual machine template."

// retrying are settings under which a call is retried for only so long.
func retrying(length time.Duration) flow.Settings {
	settings := quick()
	settings.RetryFor = length
	return settings
}

func (w *world) logged(service int) string {
	body, _ := w.body(service)
	var messages []string
	for _, entry := range body.Log {
		messages = append(messages, entry.Message)
	}
	return strings.Join(messages, "\n")
}

// TestOpenRefusalIsRetried: a bare sentence of failure is tried again, and makes no
// second VM.
func TestOpenRefusalIsRetried(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.startWorker("one", quick())
	w.failing("one.template.instantiate", 2, opennebula.CodeInternal, allocating)
	service := w.deployed(masterSlave, 2, 1)
	w.exactly(service, 3)
}

// TestOpenRefusalEndsWithItsReason: what oned goes on refusing fails the service with
// oned's words, and recover goes on.
func TestOpenRefusalEndsWithItsReason(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.startWorker("one", retrying(2*time.Second))
	w.failing("one.template.instantiate", forever, opennebula.CodeInternal, allocating)
	service := w.service(masterSlave, 1, 1)
	w.accepted(service, flow.VerbDeploy, nil)
	poll.Until(t, "why to quote oned", func() bool {
		why, err := w.pipe.Why(t.Context(), service, w.oned.Server().Refresh)
		must(t, err)
		return len(why.Waits) > 0 && strings.Contains(why.Waits[len(why.Waits)-1].Message, allocating)
	})
	w.await(service, spec.ServiceFailedDeploying)
	if log := w.logged(service); !strings.Contains(log, allocating) {
		t.Errorf("the log does not say why:\n%s", log)
	}
	w.sim.ClearFaults()
	w.accepted(service, flow.VerbRecover, flow.RecoverArguments{})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
}

// TestRetriesHoldUpNoCommand: recover with delete does not wait for what oned refuses.
func TestRetriesHoldUpNoCommand(t *testing.T) {
	for name, method := range map[string]string{
		"a VM": "one.template.instantiate", "a network": "one.vntemplate.instantiate",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.hear()
			w.startWorker("one", retrying(time.Hour))
			w.failing(method, forever, opennebula.CodeInternal, allocating)
			service := w.service(`{"name":"svc","deployment":"straight","state":0,"networks_values":[{"Priv":{"template_id":"0"}}],"roles":[
 {"name":"Master","type":"vm","cardinality":2,"template_id":0,"cooldown":0,"state":0}]}`)
			w.accepted(service, flow.VerbDeploy, nil)
			poll.Until(t, "oned to refuse", func() bool { return w.sim.CallCounts()[method] > 1 })
			w.accepted(service, flow.VerbRecover, flow.RecoverArguments{Delete: true})
			w.gone(service)
		})
	}
}

// TestFinalRefusalFailsAtOnce: what oned says of a text that it cannot read never changes.
func TestFinalRefusalFailsAtOnce(t *testing.T) {
	const reason = "Parse error: syntax error, unexpected VARIABLE, expecting EQUAL at line 0, columns 12:13"
	for method, failed := range map[string]spec.ServiceState{
		"one.template.instantiate": spec.ServiceFailedDeploying, "one.vntemplate.instantiate": spec.ServiceFailedDeployingNets,
	} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t)
			w.hear()
			w.startWorker("one", retrying(time.Hour))
			w.failing(method, forever, opennebula.CodeInternal, reason)
			service := w.service(`{"name":"svc","deployment":"straight","state":0,"networks_values":[{"Priv":{"template_id":"0"}}],"roles":[
 {"name":"Master","type":"vm","cardinality":1,"template_id":0,"cooldown":0,"state":0}]}`)
			w.accepted(service, flow.VerbDeploy, nil)
			w.await(service, failed)
			if log := w.logged(service); !strings.Contains(log, reason) {
				t.Errorf("the log does not say why:\n%s", log)
			}
			w.accepted(service, flow.VerbRecover, flow.RecoverArguments{Delete: true})
			w.gone(service)
		})
	}
}

// TestAddedRoleThatCannotBeMadeFailsAlone: the service can be ended.
func TestAddedRoleThatCannotBeMadeFailsAlone(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.startWorker("one", retrying(time.Hour))
	service := w.deployed(masterSlave, 1, 1)
	w.failing("one.template.instantiate", forever, opennebula.CodeInternal, "Parse error.")
	w.accepted(service, flow.VerbAddRole, flow.AddRoleArguments{Role: json.RawMessage(`{"name":"n","type":"vm","template_id":0,"cardinality":1}`)})
	w.await(service, spec.ServiceFailedDeploying)
	w.accepted(service, flow.VerbRecover, flow.RecoverArguments{Delete: true})
	w.gone(service)
}

// TestPassingStateIsAskedAgain: a VM that oned is at work on is asked again when it has
// moved on, and one whose state was over when oned refused it soon after.
func TestPassingStateIsAskedAgain(t *testing.T) {
	t.Run("in BOOT", func(t *testing.T) {
		w := newWorld(t)
		w.hear()
		w.sim.PauseBoots()
		w.startWorker("one", quick())
		service := w.service(masterSlave, 2, 1)
		w.accepted(service, flow.VerbDeploy, nil)
		poll.Until(t, "two VMs", func() bool { return len(w.vms(service)) == 2 })
		w.accepted(service, flow.VerbRecover, flow.RecoverArguments{Delete: true})
		w.sim.ResumeBoots()
		w.gone(service)
	})
	for name, act := range map[string]func(w *world, service int){
		"undeployed": func(w *world, service int) {
			w.accepted(service, flow.VerbUndeploy, nil)
			w.gone(service)
		},
		"scaled": func(w *world, service int) {
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Master", Cardinality: 1})
			w.await(service, spec.ServiceRunning)
			w.exactly(service, 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.hear()
			w.startWorker("one", quick())
			service := w.deployed(masterSlave, 2, 1)
			w.failing("one.vm.action", 2, opennebula.CodeAction, "This action is not available for state HOTPLUG")
			act(w, service)
		})
	}
}

// TestCommandWaitsForItsDocument: the API has made the document just before, and oned
// does not show it yet.
func TestCommandWaitsForItsDocument(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.startWorker("one", quick())
	w.failing("one.document.info", 3, opennebula.CodeNoExists, "Error getting document [0].")
	service := w.deployed(masterSlave, 1, 1)
	w.exactly(service, 2)
}

// TestCommandOfAnUnreadableServiceEnds with the reason, and holds nobody up.
func TestCommandOfAnUnreadableServiceEnds(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	broken := w.service(`not JSON`)
	command := flow.Command{ID: nuid.Next(), Verb: flow.VerbUndeploy, Service: broken, User: one.Identity{UID: 2, UName: "alice"}}
	reply, err := w.pipe.SubmitCommand(t.Context(), command, poll.Limit)
	must(t, err)
	if reply.Refused != flow.RefusedFailed || !strings.Contains(reply.Message, fmt.Sprintf("service %d", broken)) {
		t.Errorf("the answer is %+v", reply)
	}
	poll.Until(t, "the command's end to be stored", func() bool {
		status, err := w.pipe.CommandStatus(t.Context(), command.ID)
		return err == nil && status.State == pipeline.CommandRefused && status.Message == reply.Message
	})
}

// TestCommandIsAnsweredAlthoughItsDocumentCannotBeSaved: it was decided on, and the
// document follows when oned takes it.
func TestCommandIsAnsweredAlthoughItsDocumentCannotBeSaved(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.startWorker("one", retrying(time.Second))
	service := w.deployed(masterSlave, 1, 1)
	w.failing("one.document.update", forever, opennebula.CodeLocked, "The object is locked.")
	w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: json.RawMessage(`{"description":"later"}`)})
	w.sim.ClearFaults()
	_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "test"}, "")
	must(t, err)
	poll.Until(t, "the document", func() bool {
		body, _ := w.body(service)
		return body.Description != nil && *body.Description == "later"
	})
}

// TestOneServiceDoesNotMakeTheWorkerNotReady: what oned refuses to one is no reason to
// turn requests away.
func TestOneServiceDoesNotMakeTheWorkerNotReady(t *testing.T) {
	w := newWorld(t)
	worker := consumers.New(consumers.Config{ID: "one", Settings: retrying(time.Second), Logger: slog.New(slog.DiscardHandler)}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	service := w.service(masterSlave, 1, 1)
	w.failing("one.document.info", forever, opennebula.CodeInternal, "Error getting document.")
	command := flow.Command{ID: nuid.Next(), Verb: flow.VerbDeploy, Service: service, User: one.Identity{UID: 2, UName: "alice"}}
	replies := make(chan pipeline.Reply, 1)
	go func() {
		reply, _ := w.pipe.SubmitCommand(context.Background(), command, poll.Limit)
		replies <- reply
	}()
	for {
		select {
		case reply := <-replies:
			if reply.Refused != flow.RefusedFailed || !strings.Contains(reply.Message, "Error getting document.") {
				t.Errorf("the answer is %+v", reply)
			}
			return
		case <-time.After(5 * time.Millisecond):
		}
		if reason, _ := worker.Degraded(); reason != "" {
			t.Fatalf("the worker is held up: %s", reason)
		}
	}
}

// A refusal of the server user, whose password was changed at oned alone, says nothing about a service: none fails, and no command is lost,
// however long it lasts.
func TestServicesWaitWhileTheServerUserIsRefused(t *testing.T) {
	const refused = "User couldn't be authenticated, aborting call."
	w := newWorld(t)
	w.hear()
	w.startWorker("one", retrying(time.Second))
	service := w.deployed(masterSlave, 1, 1)
	w.failing("one.user.info", 2, opennebula.CodeAuthentication, refused)
	w.failing("one.template.instantiate", 1, opennebula.CodeAuthentication, refused)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
	right, err := opennebula.ParseCredentials(w.sim.ServerCredentials())
	must(t, err)
	_, err = w.oned.Renew(opennebula.Credentials{User: right.User, Password: "changed"})
	must(t, err)
	w.later(service, 3)
	changed := time.Now()
	poll.Until(t, "the refusals to last", func() bool { return time.Since(changed) > 4*time.Second })
	_, err = w.oned.Renew(right)
	must(t, err)
	poll.Until(t, "the waiting command to be carried out", func() bool { return len(w.vms(service)) == 4 })
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 4)
	if log := w.logged(service); strings.Contains(log, refused) {
		t.Errorf("the log is %q", log)
	}
}
