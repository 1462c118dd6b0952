package consumers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// history is everything that the stream holds of a service that has ended, with
// the message ids.
func (w *world) history(service int) (told []pipeline.Transition, ids []string) {
	w.t.Helper()
	stream, err := w.pipe.JetStream().Stream(w.t.Context(), pipeline.StreamFlow)
	must(w.t, err)
	deleted := pipeline.TransitionSubject(pipeline.Transition{Service: service, Change: flow.Change{New: pipeline.Deleted}})
	poll.Until(w.t, "the service's end to be told", func() bool {
		_, err := stream.GetLastMsgForSubject(context.Background(), deleted)
		return err == nil
	})
	for sequence, last := uint64(1), false; !last; sequence++ {
		message, err := stream.GetMsg(w.t.Context(), sequence, jetstream.WithGetMsgSubject(fmt.Sprintf("flow.event.%d.>", service)))
		must(w.t, err)
		var transition pipeline.Transition
		must(w.t, json.Unmarshal(message.Data, &transition))
		told, ids = append(told, transition), append(ids, message.Header.Get(jetstream.MsgIDHeader))
		sequence, last = message.Sequence, message.Subject == deleted
	}
	return told, ids
}

// historyHolds makes sure that everything was told once and in order: the
// numbers have no gap and each transition begins where the one before it ended.
func (w *world) historyHolds(service int, death string) []pipeline.Transition {
	w.t.Helper()
	told, ids := w.history(service)
	states := map[string]string{}
	for i, transition := range told {
		if want := fmt.Sprintf("%d-%d", service, i+1); ids[i] != want {
			w.t.Errorf("transition %d of service %d has the id %s, want %s%s: %+v", i, service, ids[i], want, death, transition)
		}
		if transition.Cause.Kind == "" || transition.Time.IsZero() || transition.New == "" {
			w.t.Errorf("transition %d of service %d lacks its cause, time or state%s: %+v", i, service, death, transition)
		}
		if transition.Kind == "vm" || transition.New == "DELETED" {
			continue
		}
		about := transition.Kind + " " + transition.Role + transition.Network
		if before, known := states[about]; known && before != transition.Old {
			w.t.Errorf("%s of service %d goes from %s to %s, and was %s%s", about, service, transition.Old, transition.New, before, death)
		}
		states[about] = transition.New
	}
	return told
}

// find is the first transition of a kind to a state.
func find(told []pipeline.Transition, kind, state string) (pipeline.Transition, bool) {
	for _, transition := range told {
		if transition.Kind == kind && transition.New == state {
			return transition, true
		}
	}
	return pipeline.Transition{}, false
}

func TestHistoryTellsOfNetworks(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(netsService)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceRunning)
	w.undeployed(service)
	told := w.historyHolds(service, "")
	ready, found := find(told, "network", "READY")
	if !found || ready.Network == "" || ready.ID == nil || !strings.Contains(ready.Reason, "-"+fmt.Sprint(service)) {
		t.Errorf("the networks' READY is told as %+v", ready)
	}
	if ended, found := find(told, "network", flow.NetworkDeleted); !found || ended.Old == "" || ended.ID == nil {
		t.Errorf("the networks' end is told as %+v", ended)
	}
	begun, _ := find(told, "service", "DEPLOYING_NETS")
	if len(begun.Did) != 2 || !strings.HasPrefix(begun.Did[0], "create network ") {
		t.Errorf("with DEPLOYING_NETS it was told that this was done: %q", begun.Did)
	}
}

func TestHistoryTellsOfRouters(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(routerService)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceRunning)
	w.undeployed(service)
	told := w.historyHolds(service, "")
	for _, what := range []string{"created", "deleted"} {
		if router, found := find(told, "router", what); !found || router.Role != "vr" || router.ID == nil {
			t.Errorf("a router %s is told as %+v", what, router)
		}
	}
}

func TestTroubleSaysWhyAndWhatToDo(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(`{"name":"bad","state":0,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":99,"state":0}]}`)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceFailedDeploying)
	w.undeployed(service)
	told := w.historyHolds(service, "")
	failed, _ := find(told, "service", "FAILED_DEPLOYING")
	if !strings.Contains(failed.Reason, "role a: VM 0 could not be created from template 99: ") {
		t.Errorf("the reason is %q", failed.Reason)
	}
	if !strings.Contains(failed.Next, fmt.Sprintf("oneflow recover %d", service)) {
		t.Errorf("what to do is %q", failed.Next)
	}
	if failed.Time.After(time.Now()) || failed.Cause.Kind != "command" {
		t.Errorf("the cause is %+v at %s", failed.Cause, failed.Time)
	}
}
