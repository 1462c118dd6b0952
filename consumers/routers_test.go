package consumers_test

import (
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

const routerService = `{"name":"vr","deployment":"straight","state":0,"roles":[
 {"name":"vr","type":"vr","cardinality":2,"template_id":1,"state":0,"template_contents":{"NIC":[{"NETWORK_ID":"0","FLOATING_IP":"yes"}]}},
 {"name":"app","type":"vm","cardinality":1,"template_id":0,"parents":["vr"],"state":0}]}`

func TestRoleOfAVirtualRouter(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(routerService)
	w.exactly(service, 3)
	body, _ := w.body(service)
	id := body.Roles[0].VRouterID
	if id == nil {
		t.Fatalf("the role has no router: %s", encode(t, body))
	}
	router, err := w.oned.Server().Router(t.Context(), *id)
	must(t, err)
	if len(router.VMs) != 2 || len(router.Addresses) != 1 || router.Owner.UName != "alice" {
		t.Errorf("the router is %+v", router)
	}
	w.undeployed(service)
	if _, err := w.oned.Server().Router(t.Context(), *id); !opennebula.IsCode(err, opennebula.CodeNoExists) {
		t.Errorf("the router is left behind: %v", err)
	}
}

func TestRefusedRouterFailsTheRole(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(`{"name":"vr","state":0,"roles":[{"name":"vr","type":"vr","cardinality":1,"template_id":1,"state":0,
	 "template_contents":{"NIC":[{"NETWORK_ID":"99","FLOATING_IP":"yes"}]}}]}`)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceFailedDeploying)
	w.undeployed(service)
}

func TestLostAnswerMakesNoSecondRouterOrVM(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	for _, method := range []string{"one.vrouter.allocate", "one.vrouter.instantiate", "one.vrouter.delete"} {
		must(t, w.sim.DropAnswer(method, 1))
	}
	service := w.deployed(routerService)
	w.exactly(service, 3)
	if routers := w.routers(); len(routers) != 1 {
		t.Errorf("there are %d virtual routers, want one", len(routers))
	}
	w.undeployed(service)
	if routers := w.routers(); len(routers) != 0 {
		t.Errorf("virtual routers are left behind: %+v", routers)
	}
}

func (w *world) routers() []opennebula.Router {
	w.t.Helper()
	routers, err := w.oned.Server().Routers(w.t.Context(), opennebula.FilterAll)
	must(w.t, err)
	return routers
}
