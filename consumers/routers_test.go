package consumers_test

import (
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
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

// TestARouterThatIsNotTheServices: its id was written into the document. It is left as it is with its VMs, and keeps no service from its end.
func TestARouterThatIsNotTheServices(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	for _, user := range []string{"oneadmin", "alice"} {
		t.Run("of "+user, func(t *testing.T) {
			strange, err := w.oned.For(user).AllocateRouter(t.Context(), "NAME=\"edge of "+user+"\"\n")
			must(t, err)
			service := w.service(`{"name":"svc","deployment":"none","state":2,"roles":[
				{"name":"vr","type":"vr","cardinality":0,"template_id":1,"vrouter_id":%d,"nodes":[],"state":2}]}`, strange)
			w.accepted(service, flow.VerbUndeploy, nil)
			w.gone(service)
			if _, err := w.oned.Server().Router(t.Context(), strange); err != nil {
				t.Errorf("the router is gone: %v", err)
			}
		})
	}
}

// TestARouterOfAServiceThatIsGivenAway: while it has still its former owner nobody can tell whether it will follow.
func TestARouterOfAServiceThatIsGivenAway(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(routerService)
	router := w.routers()[0].ID
	must(t, w.oned.Server().ChownDocument(t.Context(), service, 0, -1))
	w.accepted(service, flow.VerbUndeploy, nil)
	poll.Until(t, "it to be asked about again", func() bool {
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		must(t, err)
		return record.State.Retries["delete_router vr"].Attempts > 1
	})
	must(t, w.oned.Server().ChownRouter(t.Context(), router, 0, -1))
	w.gone(service)
	if routers := w.routers(); len(routers) != 0 {
		t.Errorf("the router is left behind: %+v", routers)
	}
}

// TestARouterThatAnotherUserHasNow: nothing is waited for that follows nobody, also while the service is just being given away.
func TestARouterThatAnotherUserHasNow(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(`{"name":"vr","state":0,"roles":[{"name":"vr","type":"vr","cardinality":1,"template_id":1,"state":0,
	 "template_contents":{"NIC":[{"NETWORK_ID":"0","FLOATING_IP":"yes"}]}}]}`)
	router := w.routers()[0].ID
	must(t, w.oned.Server().ChownDocument(t.Context(), service, 0, -1))
	must(t, w.oned.Server().ChownRouter(t.Context(), router, 1, -1))
	w.accepted(service, flow.VerbUndeploy, nil)
	poll.Until(t, "the document to be gone", func() bool { _, exists := w.body(service); return !exists })
	if routers := w.routers(); len(routers) != 1 || len(routers[0].VMs) != 1 {
		t.Errorf("the routers are %+v, want the other user's left alone", routers)
	}
}

func (w *world) routers() []opennebula.Router {
	w.t.Helper()
	routers, err := w.oned.Server().Routers(w.t.Context(), opennebula.FilterAll)
	must(w.t, err)
	return routers
}
