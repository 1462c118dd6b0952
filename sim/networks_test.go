package sim_test

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/sim"
)

func ipOf(t *testing.T, s *sim.Sim, id int) string {
	t.Helper()
	for _, v := range s.VMs() {
		if v.ID == id {
			return v.IP
		}
	}
	t.Fatalf("there is no VM %d", id)
	return ""
}

func TestAddressesAreGivenAndReturned(t *testing.T) {
	s := start(t, sim.Config{})
	first, second := runningVM(t, s), runningVM(t, s)
	if ipOf(t, s, first) != "10.0.0.1" || ipOf(t, s, second) != "10.0.0.2" {
		t.Errorf("the addresses are %s and %s", ipOf(t, s, first), ipOf(t, s, second))
	}
	must(t, s, "one.vm.action", oneadmin, "terminate", first)
	awaitState(t, s, first, "DONE")
	if third := runningVM(t, s); ipOf(t, s, third) != "10.0.0.1" {
		t.Errorf("the returned address was not given again: %s", ipOf(t, s, third))
	}
}

func TestSmallNetworkRunsOut(t *testing.T) {
	s := start(t, sim.Config{})
	id := readyNetwork(t, s, must(t, s, "one.vn.reserve", oneadmin, 0, "SIZE=1\nNAME=small").id(t))
	nic := "NIC = [ NETWORK_ID = \"1\" ]\nNIC = [ NETWORK_ID = \"0\" ]\n"
	must(t, s, "one.template.instantiate", oneadmin, 0, "fits", false, nic, false)
	r := call(t, s, "one.template.instantiate", oneadmin, 0, "too many", false, nic, false)
	if r.code != 0x4000 || !strings.Contains(r.text, "Cannot get IP/MAC lease from virtual network 1.") {
		t.Errorf("an empty network gave %s", r.raw)
	}
	if len(s.VMs()) != 1 {
		t.Error("a refused VM is there")
	}
	if r := call(t, s, "one.vn.delete", oneadmin, id); r.code != 0x0800 {
		t.Errorf("a network in use was deleted: %s", r.raw)
	}
	if r := call(t, s, "one.vn.reserve", oneadmin, 0, "SIZE=1\nNAME=small"); r.code != 0x2000 {
		t.Errorf("two networks of one name: %s", r.raw)
	}
	if r := call(t, s, "one.template.instantiate", alice, 0, "hers", false, nic, false); r.code != 0x0200 {
		t.Errorf("alice used oneadmin's network: %s", r.raw)
	}
}

func TestVirtualRouter(t *testing.T) {
	s := start(t, sim.Config{})
	newRouter(t, s)
	must(t, s, "one.vrouter.instantiate", oneadmin, 0, 2, 1, "vr_%i_(service_41)", false, routerText)
	awaitState(t, s, 0, "RUNNING")
	awaitState(t, s, 1, "RUNNING")
	vms := s.VMs()
	if vms[0].Name != "vr_0_(service_41)" || vms[1].Name != "vr_1_(service_41)" || vms[0].Service != "41" || vms[0].Role != "vr" {
		t.Errorf("the router's VMs are %+v", vms)
	}
	must(t, s, "one.vrouter.chown", oneadmin, 0, 2, 1)
	if info := must(t, s, "one.vm.info", alice, 0).text; !strings.Contains(info, "<UNAME>alice</UNAME>") {
		t.Errorf("the router's VMs keep their owner: %s", info)
	}
	must(t, s, "one.vrouter.delete", oneadmin, 0)
	awaitState(t, s, 0, "DONE")
	awaitState(t, s, 1, "DONE")
	if info := must(t, s, "one.vn.info", oneadmin, 0).text; !strings.Contains(info, "<USED_LEASES>0</USED_LEASES>") {
		t.Errorf("addresses stay in use: %s", info)
	}
}
