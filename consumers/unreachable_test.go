package consumers_test

import (
	"net/http"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
)

// TestBlindWorkerIsReplaced: a worker that reaches NATS and not oned would keep
// its services for itself and do nothing for them.
func TestBlindWorkerIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.hear()
	blind := w.startMortal("blind", moment{})
	blind.hangs.Store(true)
	w.startWorker("seeing", quick())
	services := make([]int, 8)
	for i := range services {
		services[i] = w.service(masterSlave, 1, 1)
		w.accepted(services[i], flow.VerbDeploy, nil)
	}
	for _, service := range services {
		w.await(service, spec.ServiceRunning)
		w.exactly(service, 2)
	}
	blind.hangs.Store(false)
	before := blind.calls.Load()
	for blind.calls.Load() == before || blind.deployed.Load() == 0 {
		service := w.service(masterSlave, 1, 1)
		w.accepted(service, flow.VerbDeploy, nil)
		w.await(service, spec.ServiceRunning)
		w.exactly(service, 2)
	}
	close(blind.quit)
	blind.bury(t)
}

// hang keeps a call waiting, as a network that loses every packet does.
func (m *mortal) hang(in *http.Request) {
	select {
	case <-in.Context().Done():
	case <-m.quit:
	}
	panic(http.ErrAbortHandler)
}
