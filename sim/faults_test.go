package sim_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

func TestFailedCallIsNotApplied(t *testing.T) {
	s := start(t, sim.Config{})
	err := s.FailCall(sim.CallFailure{Method: "one.template.instantiate", Nth: 2, Code: opennebula.CodeAllocate, Message: "No."})
	if err != nil {
		t.Fatal(err)
	}
	instantiate(t, s, "first", "")
	r := call(t, s, "one.template.instantiate", oneadmin, 0, "second", false, "", false)
	if r.ok || r.code != 0x4000 || r.text != "[one.template.instantiate] No." {
		t.Errorf("the second call answered %s", r.raw)
	}
	instantiate(t, s, "third", "")
	if made := len(s.VMs()); made != 2 {
		t.Errorf("there are %d VMs", made)
	}
	if s.FailCall(sim.CallFailure{Method: "one.vm.explode"}) == nil {
		t.Error("a fault of a call that does not exist")
	}
}

func TestDroppedAnswerIsApplied(t *testing.T) {
	s := start(t, sim.Config{})
	if err := s.DropAnswer("one.template.instantiate", 0); err != nil {
		t.Fatal(err)
	}
	if r, err := try(t, s, "one.template.instantiate", oneadmin, 0, "a", false, "", false); err == nil {
		t.Fatalf("there was an answer: %s", r.raw)
	}
	if made := len(s.VMs()); made != 1 {
		t.Errorf("there are %d VMs", made)
	}
	instantiate(t, s, "b", "")
}

func TestBrokenVM(t *testing.T) {
	s := start(t, sim.Config{})
	id := runningVM(t, s)
	if err := s.BreakVM(id, "BOOT_FAILURE"); err != nil {
		t.Fatal(err)
	}
	if r := call(t, s, "one.vm.action", oneadmin, "poweroff", id); r.code != 0x0800 ||
		r.text != "[one.vm.action] Error performing action \"poweroff\": This action is not available for state BOOT_FAILURE" {
		t.Errorf("a broken VM was powered off: %s", r.raw)
	}
	must(t, s, "one.vm.recover", oneadmin, id, 2)
	awaitState(t, s, id, "RUNNING")
	if err := s.BreakVM(id, "PROLOG_FAILURE"); err != nil {
		t.Fatal(err)
	}
	must(t, s, "one.vm.recover", oneadmin, id, 3)
	awaitState(t, s, id, "DONE")
	if s.BreakVM(id, "BOOT_FAILURE") == nil || s.BreakVM(0, "BROKEN") == nil {
		t.Error("an ended VM was broken, or there is a state BROKEN")
	}
}

func TestFailingBoot(t *testing.T) {
	s := start(t, sim.Config{})
	s.FailBoots(1)
	id := instantiate(t, s, "vm", "")
	awaitState(t, s, id, "BOOT_FAILURE")
	must(t, s, "one.vm.recover", oneadmin, id, 2)
	awaitState(t, s, id, "RUNNING")
}

func TestPausedBoots(t *testing.T) {
	s := start(t, sim.Config{BootDelay: sim.NoDelay})
	s.PauseBoots()
	paused := instantiate(t, s, "paused", "")
	awaitState(t, s, paused, "BOOT")
	s.ResumeBoots()
	awaitState(t, s, paused, "RUNNING")
}

func TestLostFoundPoweredOffAndDeletedVM(t *testing.T) {
	s := start(t, sim.Config{})
	id := runningVM(t, s)
	steps := []struct {
		do    func(int) error
		state string
	}{
		{s.LoseVM, "UNKNOWN"}, {s.ResumeVM, "RUNNING"}, {s.PoweroffVM, "POWEROFF"},
		{s.ResumeVM, "RUNNING"}, {s.DeleteVM, "DONE"},
	}
	for _, step := range steps {
		if err := step.do(id); err != nil {
			t.Fatal(err)
		}
		awaitState(t, s, id, step.state)
	}
	if s.LoseVM(id) == nil || s.LoseVM(4711) == nil {
		t.Error("a VM that is not there was lost")
	}
}

func TestReadyGuest(t *testing.T) {
	s := start(t, sim.Config{})
	events := subscribe(t, s, "EVENT API one.vm.update")
	id := runningVM(t, s)
	if err := s.ReadyVM(id); err != nil {
		t.Fatal(err)
	}
	events.await(t, "EVENT API one.vm.update 1", 1)
	if body := events.all()[0].body; !strings.Contains(body, "<VALUE>READY=YES\n</VALUE>") {
		t.Errorf("the guest reported %s", body)
	}
	if info := must(t, s, "one.vm.info", oneadmin, id).text; !strings.Contains(info, "<READY><![CDATA[YES]]></READY>") {
		t.Errorf("the VM is not ready: %s", info)
	}
}

// renames has events of calls published whose order can be told.
func renames(t *testing.T, s *sim.Sim, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		must(t, s, "one.document.rename", oneadmin, 0, fmt.Sprintf("n%d", i))
	}
}

// names are the new names in the order in which they were published.
func (l *listener) names() []string {
	var names []string
	for _, m := range l.all() {
		_, after, _ := strings.Cut(m.body, "<VALUE>n")
		name, _, _ := strings.Cut(after, "<")
		names = append(names, name)
	}
	return names
}

func TestEventFaults(t *testing.T) {
	s := start(t, sim.Config{})
	newDocument(t, s)
	events := subscribe(t, s, "EVENT API one.document.rename")
	s.DropEvents(1)
	renames(t, s, 0, 2)
	told(t, s, http.MethodPost, "/events", `{"double":1}`)
	renames(t, s, 2, 4)
	told(t, s, http.MethodPost, "/events", `{"reorder":3}`)
	renames(t, s, 4, 8)
	want := []string{"1", "2", "2", "3", "6", "5", "4", "7"}
	poll.Until(t, "the events are there", func() bool { return len(events.all()) == len(want) })
	if got := events.names(); !slices.Equal(got, want) {
		t.Errorf("published were %q, not %q", got, want)
	}
	if counts := s.Events(); counts.Lost != 1 {
		t.Errorf("lost were %d", counts.Lost)
	}
	const delay = 50 * time.Millisecond
	told(t, s, http.MethodPost, "/events", `{"delay":"50ms"}`)
	begin := time.Now()
	renames(t, s, 8, 9)
	poll.Until(t, "the delayed event is there", func() bool { return len(events.all()) == len(want)+1 })
	if took := time.Since(begin); took < delay {
		t.Errorf("a delayed event came after %s", took)
	}
}

func TestFollowerRefusesWritesAndIsSilent(t *testing.T) {
	s := start(t, sim.Config{BootDelay: sim.NoDelay})
	s.PauseBoots()
	events := subscribe(t, s, "EVENT ")
	booting := instantiate(t, s, "booting", "")
	events.await(t, fmt.Sprintf("EVENT STATE VM/ACTIVE/BOOT/%d ", booting), 1)
	before := len(events.all())
	s.LoseLeadership()
	s.ResumeBoots()
	if r := call(t, s, "one.template.instantiate", oneadmin, 0, "a", false, "", false); r.code != 0x2000 ||
		r.text != "[one.template.instantiate] Cannot process request, no leader found" {
		t.Errorf("a follower answered %s", r.raw)
	}
	must(t, s, "one.vm.info", oneadmin, booting)
	if status := must(t, s, "one.zone.raftstatus", oneadmin).text; !strings.Contains(status, "<STATE>2</STATE>") {
		t.Errorf("a follower says %s", status)
	}
	if stateOf(s, booting) != "BOOT" {
		t.Error("a follower's VMs go on")
	}
	if heard := events.all(); len(heard) > before {
		t.Errorf("a follower published %q", heard[before].key)
	}
	s.GainLeadership()
	awaitLeader(t, s)
	if stateOf(s, booting) != "BOOT" {
		t.Error("a driver's answer came to another leader")
	}
	must(t, s, "one.vm.recover", oneadmin, booting, 2)
	awaitState(t, s, booting, "RUNNING")
	events.await(t, fmt.Sprintf("EVENT STATE VM/ACTIVE/RUNNING/%d ", booting), 1)
	if status := must(t, s, "one.zone.raftstatus", oneadmin).text; !strings.Contains(status, "<STATE>3</STATE>") {
		t.Errorf("a leader says %s", status)
	}
}

func TestRestartComesBackOnItsPorts(t *testing.T) {
	s := start(t, sim.Config{})
	endpoint, hooks := s.Endpoint(), s.HooksEndpoint()
	id := runningVM(t, s)
	if err := s.Restart(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	if s.Endpoint() != endpoint || s.HooksEndpoint() != hooks {
		t.Errorf("it came back on %s and %s", s.Endpoint(), s.HooksEndpoint())
	}
	events := subscribe(t, s, "EVENT ")
	must(t, s, "one.vm.action", oneadmin, "terminate", id)
	events.await(t, fmt.Sprintf("EVENT STATE VM/DONE/LCM_INIT/%d ", id), 1)
}

func TestEventsOfADownTimeAreLost(t *testing.T) {
	s := start(t, sim.Config{BootDelay: sim.NoDelay})
	id := runningVM(t, s)
	back := make(chan error)
	go func() { back <- s.Restart(300 * time.Millisecond) }()
	poll.Until(t, "it is down", func() bool {
		client.CloseIdleConnections()
		_, err := try(t, s, "one.system.version", oneadmin)
		return err != nil
	})
	if err := s.LoseVM(id); err != nil {
		t.Fatal(err)
	}
	if err := <-back; err != nil {
		t.Fatal(err)
	}
	if s.Events().Lost == 0 {
		t.Error("nothing was lost")
	}
}

func TestDelaysAndSerialisedWrites(t *testing.T) {
	s := start(t, sim.Config{})
	s.SetSerialisedWrites(true)
	s.SetCallDelay("one.document.rename", 10*time.Millisecond)
	newDocument(t, s)
	begin := time.Now()
	parallel(5, 10, func(i int) { must(t, s, "one.document.rename", oneadmin, 0, fmt.Sprintf("n%d", i)) })
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("ten writes of 10 ms took %s", took)
	}
	s.SetSerialisedWrites(false)
	begin = time.Now()
	must(t, s, "one.document.info", oneadmin, 0)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a read took %s", took)
	}
	for _, c := range s.Calls("one.document.rename", 0) {
		if c.Took < 10*time.Millisecond {
			t.Errorf("a delayed call took %s", c.Took)
		}
	}
}
