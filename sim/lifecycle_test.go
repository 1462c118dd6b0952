package sim_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

func TestVMBootsAndEnds(t *testing.T) {
	s := start(t, sim.Config{})
	id := instantiate(t, s, "first", "SERVICE_ID = \"7\"\nROLE_NAME = \"Master\"\n")
	awaitState(t, s, id, "RUNNING")
	must(t, s, "one.vm.action", oneadmin, "terminate", id)
	awaitState(t, s, id, "DONE")
}

func TestActionsAndTheirStates(t *testing.T) {
	s := start(t, sim.Config{})
	id := runningVM(t, s)
	for _, step := range [][2]string{
		{"suspend", "SUSPENDED"}, {"resume", "RUNNING"}, {"stop", "STOPPED"}, {"resume", "RUNNING"},
		{"undeploy", "UNDEPLOYED"}, {"resume", "RUNNING"}, {"reboot", "RUNNING"}, {"poweroff-hard", "POWEROFF"},
		{"undeploy-hard", "UNDEPLOYED"}, {"terminate-hard", "DONE"},
	} {
		must(t, s, "one.vm.action", oneadmin, step[0], id)
		awaitState(t, s, id, step[1])
	}
	must(t, s, "one.vm.action", oneadmin, "terminate", id)
	for _, action := range []string{"resume", "hold"} {
		if r := call(t, s, "one.vm.action", oneadmin, action, id); r.code != 2048 {
			t.Errorf("%s of an ended VM: %s", action, r.raw)
		}
	}
	if r := call(t, s, "one.vm.action", oneadmin, "explode", id); r.code != 2048 {
		t.Errorf("an unknown action: %s", r.raw)
	}
}

func TestHeldVMWaits(t *testing.T) {
	s := start(t, sim.Config{BootDelay: time.Hour})
	id := instantiate(t, s, "vm", "")
	must(t, s, "one.vm.action", oneadmin, "hold", id)
	if stateOf(s, id) != "HOLD" {
		t.Errorf("a held VM is %s", stateOf(s, id))
	}
	must(t, s, "one.vm.action", oneadmin, "release", id)
	must(t, s, "one.vm.action", oneadmin, "terminate", id)
	if stateOf(s, id) != "DONE" {
		t.Errorf("a pending VM that was terminated is %s", stateOf(s, id))
	}
}

func TestVMsWaitForRoom(t *testing.T) {
	s := start(t, sim.Config{})
	var ids []int
	for range 5 {
		ids = append(ids, instantiate(t, s, "vm", "MEMORY = 67108864")) // a whole host
	}
	for _, id := range ids[:4] {
		awaitState(t, s, id, "RUNNING")
	}
	poll.Until(t, "the fifth VM found no room", func() bool { return s.State().Waiting == 1 })
	hosts := map[string]bool{}
	for _, v := range s.VMs()[:4] {
		hosts[v.Host] = true
	}
	if stateOf(s, ids[4]) != "PENDING" || len(hosts) != 4 {
		t.Errorf("the fifth VM is %s, the others are on %v", stateOf(s, ids[4]), hosts)
	}
	must(t, s, "one.vm.action", oneadmin, "terminate", ids[1])
	awaitState(t, s, ids[4], "RUNNING")
}

func TestScheduledActionIsCarriedOut(t *testing.T) {
	s := start(t, sim.Config{})
	id := runningVM(t, s)
	must(t, s, "one.vm.schedadd", oneadmin, id, "SCHED_ACTION = [ ACTION = \"poweroff\", TIME = \"1\" ]")
	awaitState(t, s, id, "POWEROFF")
	if info := must(t, s, "one.vm.info", oneadmin, id).text; strings.Contains(info, "<DONE>-1</DONE>") {
		t.Errorf("the action does not count as done: %s", info)
	}
}

func TestEndedVMsAreForgotten(t *testing.T) {
	s := start(t, sim.Config{KeepDone: 2})
	for range 4 {
		must(t, s, "one.vm.action", oneadmin, "terminate", runningVM(t, s))
	}
	poll.Until(t, "two of four ended VMs are left", func() bool {
		vms := s.VMs()
		return len(vms) == 2 && vms[0].ID == 2 && vms[0].StateText == "DONE" && vms[1].StateText == "DONE"
	})
	if r := call(t, s, "one.vm.info", oneadmin, 0); r.code != 1024 {
		t.Errorf("a forgotten VM: %s", r.raw)
	}
}

func TestPoolOfVMs(t *testing.T) {
	s := start(t, sim.Config{})
	for range 5 {
		runningVM(t, s)
	}
	must(t, s, "one.vm.action", oneadmin, "terminate", 1)
	awaitState(t, s, 1, "DONE")
	for _, one := range []struct {
		start, end, state int
		want              string
	}{
		{-1, -1, -2, "4 3 2 1 0"}, {-1, -1, -1, "4 3 2 0"}, {-1, -1, 6, "1"}, {3, -1, -1, "4 3"}, {0, 2, -2, "2 1 0"}, {1, -2, -2, "3 2"},
	} {
		text := must(t, s, "one.vmpool.infoextended", oneadmin, -2, one.start, one.end, one.state, "").text
		var ids []string
		for _, part := range strings.Split(text, "<VM><ID>")[1:] {
			id, _, _ := strings.Cut(part, "<")
			ids = append(ids, id)
		}
		if got := strings.Join(ids, " "); got != one.want {
			t.Errorf("%+v listed %s", one, got)
		}
	}
}

// TestEventsComeBeforeTheyAreWritten: whom an event has told of a state may still read the one
// of before. It is written when the change is over.
func TestEventsComeBeforeTheyAreWritten(t *testing.T) {
	s := start(t, sim.Config{BootDelay: time.Hour})
	events := subscribe(t, s, "EVENT STATE ")
	poll.Until(t, "somebody to read what is not written yet", func() bool {
		id := must(t, s, "one.template.instantiate", oneadmin, 0, "slow", true, "", false).id(t)
		changed := make(chan error)
		go func() { changed <- s.DeleteVM(id) }()
		events.await(t, fmt.Sprintf("EVENT STATE VM/DONE/LCM_INIT/%d ", id), 1)
		early := must(t, s, "one.vm.info", oneadmin, id).text
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
		if late := must(t, s, "one.vm.info", oneadmin, id).text; !strings.Contains(late, "<STATE>6</STATE>") {
			t.Fatalf("what is written is not read: %s", late)
		}
		return !strings.Contains(early, "<STATE>6</STATE>")
	})
}
