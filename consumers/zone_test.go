package consumers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

// newZone is a world with a zone of three servers. Events are heard from whoever leads.
func newZone(t *testing.T) *world {
	t.Helper()
	w := newWorldOf(t, sim.Config{BootDelay: 100 * time.Millisecond, Others: []sim.ServerAddress{{}, {}}, ElectionTime: 300 * time.Millisecond})
	w.oned.Follow(t.Context(), 0)
	return w
}

func (w *world) leader() int {
	for n, server := range w.sim.Servers() {
		if server.Leader {
			return n
		}
	}
	return -1
}

// TestLeaderDiesWhileServicesDeploy: whatever it left behind is retried or made anew, and
// every service comes to run with exactly its VMs.
func TestLeaderDiesWhileServicesDeploy(t *testing.T) {
	w := newZone(t)
	w.hear()
	settings := quick()
	settings.VMDeadlines.LeaderChange = time.Second
	w.startWorker("one", settings)
	w.startWorker("two", settings)
	services := make([]int, 6)
	for i := range services {
		services[i] = w.service(masterSlave, 2, 1)
		w.accepted(services[i], flow.VerbDeploy, nil)
	}
	poll.Until(t, "VMs to be on their way", func() bool { return len(w.sim.VMs()) >= 6 })
	late, dead := w.service(masterSlave, 1, 1), w.leader()
	must(t, w.sim.StopServer(dead))
	w.accepted(late, flow.VerbDeploy, nil)
	for _, service := range services {
		w.await(service, flow.ServiceRunning)
	}
	w.await(late, flow.ServiceRunning)
	must(t, w.sim.StartServer(dead))
	for _, service := range services {
		w.exactly(service, 3)
		w.accepted(service, flow.VerbUndeploy, nil)
	}
	for _, service := range services {
		w.gone(service)
	}
	w.exactly(late, 2)
}

// TestAFollowersReadsDecideNothing: right after the leader has changed a worker may ask a
// server that is behind.
func TestAFollowersReadsDecideNothing(t *testing.T) {
	w := newZone(t)
	w.hear()
	w.startWorker("one", quick())
	service := w.deployed(masterSlave, 2, 1)
	for range 3 {
		must(t, w.sim.MoveLeadership())
		for n := range 3 {
			text := fmt.Sprintf(`{"description":"%d"}`, n)
			w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(text)})
		}
		w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
		w.await(service, flow.ServiceRunning)
		w.exactly(service, 4)
		w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1})
		w.await(service, flow.ServiceRunning)
		w.exactly(service, 3)
	}
}
