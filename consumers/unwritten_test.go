package consumers_test

import (
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/sim"
)

// TestEventsComeBeforeOnedHasWritten: oned sends an event before it writes the state that it
// tells, and who looks at once is told the state of before. No service waits for the next look.
func TestEventsComeBeforeOnedHasWritten(t *testing.T) {
	w := newWorldOf(t, sim.Config{BootDelay: 20 * time.Millisecond, TimeFactor: 0.001})
	w.startWorker("one", patient())
	w.hear()
	for name, life := range map[string]func(service int){
		"undeploy": func(service int) { w.accepted(service, flow.VerbUndeploy, nil) },
		"scale down, undeploy": func(service int) {
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1})
			w.await(service, flow.ServiceRunning)
			w.accepted(service, flow.VerbUndeploy, nil)
		},
		"VMs fail and come back": func(service int) {
			vms := w.vms(service)
			for _, vm := range vms {
				must(t, w.sim.PoweroffVM(vm.ID))
			}
			w.await(service, flow.ServiceWarning)
			for _, vm := range vms {
				must(t, w.sim.ResumeVM(vm.ID))
			}
			w.await(service, flow.ServiceRunning)
			w.accepted(service, flow.VerbUndeploy, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			service := w.deployed(masterSlave, 2, 2)
			life(service)
			w.gone(service)
		})
	}
}
