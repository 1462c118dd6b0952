package sim_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/sim"
)

// again starts a zone from its state file.
func again(t *testing.T, config sim.Config) *sim.Sim {
	t.Helper()
	s, err := sim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestZoneComesBack(t *testing.T) {
	config := sim.Config{StateFile: filepath.Join(t.TempDir(), "zone.db"), BootDelay: sim.NoDelay}
	s := again(t, config)
	document := newDocument(t, s)
	running := runningVM(t, s)
	gone := runningVM(t, s)
	must(t, s, "one.vm.action", oneadmin, "terminate", gone)
	awaitState(t, s, gone, "DONE")
	must(t, s, "one.user.passwd", alice, 2, "other")
	reserved := readyNetwork(t, s, must(t, s, "one.vn.reserve", oneadmin, 0, "SIZE=5\nNAME=Res").id(t))
	newRouter(t, s)
	s.PauseBoots()
	booting := instantiate(t, s, "booting", serviceText+"FLOWJET_KEY = \"k1\"\n")
	awaitState(t, s, booting, "BOOT")
	network := must(t, s, "one.vn.info", oneadmin, 0).text
	before := must(t, s, "one.vm.info", oneadmin, booting).text
	must(t, s, "one.document.delete", oneadmin, document)
	stop(t, s)

	s = again(t, config)
	defer stop(t, s)
	awaitState(t, s, running, "RUNNING")
	awaitEndOfTrouble(t, s, booting)
	if whoIs(t, s, "alice:other") != "alice" || whoIs(t, s, serverSessionOf(t, s)) != "alice" {
		t.Error("users do not come back as they were")
	}
	if newDocument(t, s) <= document {
		t.Error("a document's id was given twice")
	}
	if again := must(t, s, "one.vn.info", oneadmin, 0).text; again != network {
		t.Errorf("the leases were %s\nand are %s", network, again)
	}
	if next := runningVM(t, s); next <= booting {
		t.Errorf("VM id %d was given twice", next)
	}
	must(t, s, "one.vn.delete", oneadmin, reserved)
	ip := func(info string) string {
		_, after, _ := strings.Cut(info, "<IP>")
		text, _, _ := strings.Cut(after, "</IP>")
		return text
	}
	if after := must(t, s, "one.vm.info", oneadmin, booting).text; ip(after) != ip(before) || !strings.Contains(after, "k1") {
		t.Errorf("the booting VM came back as %s", after)
	}
}

func TestStateFileInUse(t *testing.T) {
	config := sim.Config{StateFile: filepath.Join(t.TempDir(), "zone.db")}
	start(t, config)
	second, err := sim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	err = second.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "another simulator") || strings.Contains(err.Error(), "\n") {
		t.Errorf("two simulators on one state file: %v", err)
	}
}

func TestMemoryOnlyZoneStartsAgain(t *testing.T) {
	s := again(t, sim.Config{})
	id := runningVM(t, s)
	stop(t, s)
	if err := s.LoseVM(id); err == nil {
		t.Error("a stopped simulator took a change")
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer stop(t, s)
	client.CloseIdleConnections()
	must(t, s, "one.vm.info", oneadmin, id)
}

// TestVMComesBackWhole: what is stored apart of a VM, its texts and the rest,
// belongs together after every restart, whichever of them was changed last.
func TestVMComesBackWhole(t *testing.T) {
	config := sim.Config{StateFile: filepath.Join(t.TempDir(), "zone.db"), BootDelay: sim.NoDelay}
	s := again(t, config)
	defer func() { stop(t, s) }()
	id := runningVM(t, s)
	for what, change := range map[string]func() error{
		"its user template": func() error { must(t, s, "one.vm.update", oneadmin, id, "COLOUR=red", 1); return nil },
		"its readiness":     func() error { return s.ReadyVM(id) },
		"its state":         func() error { return s.LoseVM(id) },
		"its name":          func() error { must(t, s, "one.vm.rename", oneadmin, id, "other"); return nil },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		before := must(t, s, "one.vmpool.infoextended", oneadmin, -2, -1, -1, -1).text
		stop(t, s)
		s = again(t, config)
		if after := must(t, s, "one.vmpool.infoextended", oneadmin, -2, -1, -1, -1).text; after != before {
			t.Errorf("with %s changed, the VM was\n%s\nand came back as\n%s", what, before, after)
		}
	}
}
