package consumers_test

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

const oneRole = `{"name":"svc","deployment":"none","state":0,"roles":[
 {"name":"a","type":"vm","cardinality":%d,"template_id":0,"cooldown":0,"state":0}]}`

// createdFor gives the service of each VM that is asked for, in order.
func createdFor(s *sim.Sim) func() []string {
	var mutex sync.Mutex
	var services []string
	s.OnCall(func(call sim.Call) {
		if call.Method != "one.template.instantiate" {
			return
		}
		_, name, _ := strings.Cut(call.Arguments[1], "(service_")
		mutex.Lock()
		defer mutex.Unlock()
		services = append(services, strings.TrimSuffix(name, ")"))
	})
	return func() []string {
		mutex.Lock()
		defer mutex.Unlock()
		return slices.Clone(services)
	}
}

// TestLargeServicesDoNotHoldUpOthers: one that comes while as many are under way as
// may be is not kept waiting until their last VM has been asked for.
func TestLargeServicesDoNotHoldUpOthers(t *testing.T) {
	const large, size = 3, 20
	w := newWorld(t)
	w.sim.SetCallDelay("one.template.instantiate", 150*time.Millisecond) // far longer than the small one takes to be read
	created := createdFor(w.sim)
	worker := consumers.New(consumers.Config{ID: "one", Settings: quick(), MaxCalls: 1, Logger: slog.New(slog.DiscardHandler)}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	w.hear()
	for range large {
		w.accepted(w.service(oneRole, size), flow.VerbDeploy, nil)
	}
	poll.Until(t, "the large services to be under way", func() bool { return len(created()) > large })
	small := w.service(oneRole, 1)
	_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: small, Reason: "test"}, "")
	must(t, err)
	w.await(small, spec.ServiceRunning)
	place := slices.Index(created(), strconv.Itoa(small))
	if place < 0 || place > large*size/2 {
		t.Errorf("the small service's VM was asked for as number %d of %d", place+1, large*size)
	}
}

// TestSearchesGoOnWhereTheLastEnded: whose service is taken over looks for each VM
// that may be there, but not through all VMs for each.
func TestSearchesGoOnWhereTheLastEnded(t *testing.T) {
	const size = 8
	w := newWorld(t)
	w.hear()
	created := createdFor(w.sim)
	stop := w.startWorker("one", quick())
	w.deployed(oneRole, 30) // VMs of others
	w.sim.SetCallDelay("one.template.instantiate", 600*time.Millisecond)
	service := w.service(oneRole, size)
	w.accepted(service, flow.VerbDeploy, nil)
	poll.Until(t, "a VM to be asked for", func() bool { return slices.Contains(created(), strconv.Itoa(service)) })
	stop()

	var mutex sync.Mutex
	var from []int
	w.sim.OnCall(func(call sim.Call) {
		if call.Method != "one.vmpool.infoextended" {
			return
		}
		start, err := strconv.Atoi(call.Arguments[1])
		end, endErr := strconv.Atoi(call.Arguments[2])
		if err == nil && endErr == nil && start > 0 && end < 0 { // from a floor to the end: a search
			mutex.Lock()
			defer mutex.Unlock()
			from = append(from, start)
		}
	})
	w.startWorker("two", quick())
	w.await(service, spec.ServiceRunning)
	w.exactly(service, size)
	mutex.Lock()
	defer mutex.Unlock()
	if len(from) < 3 {
		t.Fatalf("the searches began at %v: more of them were to be seen", from)
	}
	if !slices.IsSorted(from) || from[len(from)-1] <= from[0]+size/2 {
		t.Errorf("the searches began at %v: the later ones read again what the first have read", from)
	}
}
