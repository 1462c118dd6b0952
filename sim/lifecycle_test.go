package sim_test

import (
	"testing"

	"github.com/flowjet/flowjet/sim"
)

func TestVMBootsAndEnds(t *testing.T) {
	s := start(t, sim.Config{})
	id := instantiate(t, s, "first", "SERVICE_ID = \"7\"\nROLE_NAME = \"Master\"\n")
	awaitState(t, s, id, "RUNNING")
	must(t, s, "one.vm.action", oneadmin, "terminate", id)
	awaitState(t, s, id, "DONE")
}
