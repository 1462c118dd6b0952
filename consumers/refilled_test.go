package consumers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
)

// TestAScaleEndsWithWhatWasAskedFor: VMs that others end are found gone with the command, of which nobody has heard, or while
// the role scales.
func TestAScaleEndsWithWhatWasAskedFor(t *testing.T) {
	endOf := func(w *world, vm int) {
		must(w.t, w.oned.For("alice").ActOnVM(w.t.Context(), "terminate-hard", vm))
		w.awaitGone(vm)
	}
	for name, test := range map[string]struct {
		heard      bool
		asked      int
		before, in bool
	}{
		"up, one lost before, unheard":        {false, 4, true, false},
		"to what it had, one lost, unheard":   {false, 3, true, false},
		"up, one lost before and one during":  {true, 5, true, true},
		"up, one lost while the new ones are": {true, 4, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			settings := quick()
			w.startWorker("one", settings)
			stop := w.hear()
			service := w.deployed(threeOfARole)
			vms := w.nodes(service)
			if !test.heard {
				stop()
			}
			if test.before {
				endOf(w, vms[0])
			}
			if test.in {
				w.sim.SetBootDelay(500 * time.Millisecond)
			}
			reply := w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: test.asked})
			if reply.Refused != "" {
				t.Fatalf("it is refused: %s", reply.Message)
			}
			if test.in {
				w.await(service, spec.ServiceScaling)
				endOf(w, vms[1])
				w.sim.SetBootDelay(0)
			}
			poll.Until(t, "the role to have what was asked for", func() bool {
				nodes := w.nodes(service)
				return len(nodes) == test.asked && !slices.ContainsFunc(nodes, func(vm int) bool { return !w.vm(vm).Running() })
			})
			w.await(service, spec.ServiceRunning)
			w.exactly(service, test.asked)
		})
	}
}
