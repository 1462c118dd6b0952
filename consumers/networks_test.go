package consumers_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/sim"
)

const netsService = `{"name":"nets","state":0,"networks_values":[
 {"Priv":{"template_id":"0","extra":"AR=[TYPE=IP4,IP=192.168.5.1,SIZE=20]"}},{"Res":{"reserve_from":"0","extra":"SIZE=5"}},{"Old":{"id":"0"}}],
 "roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"state":0,"template_contents":{"NIC":[
  {"NAME":"NIC0","NETWORK_ID":"$Priv"},{"NAME":"NIC1","NETWORK_ID":"$Res"},{"NAME":"NIC2","NETWORK_ID":"$Old"}]}}]}`

// networks are those that the zone has beside its own.
func (w *world) networks() []opennebula.Network {
	w.t.Helper()
	all, err := w.oned.Server().Networks(context.Background(), opennebula.FilterAll)
	must(w.t, err)
	var made []opennebula.Network
	for _, network := range all {
		if network.ID > 0 {
			made = append(made, network)
		}
	}
	return made
}

func (w *world) awaitNoNetworks() {
	w.t.Helper()
	poll.Until(w.t, "all networks to be gone", func() bool { return len(w.networks()) == 0 })
}

// undeployed ends a service and holds that nothing of it stays.
func (w *world) undeployed(service int) {
	w.t.Helper()
	w.accepted(service, flow.VerbRecover, flow.RecoverArguments{Delete: true})
	poll.Until(w.t, "the document to be gone", func() bool { _, exists := w.body(service); return !exists })
	if left := w.vms(service); len(left) > 0 {
		w.t.Errorf("%d VMs are left behind", len(left))
	}
	if left := w.networks(); len(left) > 0 {
		w.t.Errorf("networks are left behind: %+v", left)
	}
}

func TestServiceMakesItsNetworks(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(netsService)
	names := map[string]bool{}
	for _, network := range w.networks() {
		name, _, _ := strings.Cut(network.Name, "-")
		names[name] = network.Owner.UName == "alice" && network.State == one.NetworkReady
	}
	if len(names) != 2 || !names["Priv"] || !names["Res"] {
		t.Errorf("the networks are %+v", w.networks())
	}
	tree, err := w.oned.Server().VMTree(t.Context(), w.vms(service)[0].ID)
	must(t, err)
	if address, _ := tree.Lookup("TEMPLATE", "NIC", "IP"); address != "192.168.5.1" {
		t.Errorf("the VM's first address is %q", address)
	}
	w.undeployed(service)
}

func TestRefusedReservationLeavesNothing(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service("%s", strings.ReplaceAll(netsService, "SIZE=5", "SIZE=99999999"))
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceFailedDeployingNets)
	w.awaitNoNetworks()
	w.accepted(service, flow.VerbRecover, flow.RecoverArguments{})
	w.await(service, spec.ServiceFailedDeployingNets)
	w.undeployed(service)
}

func TestLostAnswersMakeNoSecondNetwork(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	for _, method := range []string{"one.vntemplate.instantiate", "one.vn.reserve", "one.vn.delete"} {
		must(t, w.sim.DropAnswer(method, 1))
	}
	service := w.deployed(netsService)
	if made := w.networks(); len(made) != 2 {
		t.Errorf("the networks are %+v", made)
	}
	w.undeployed(service)
}

func TestNetworkOfSomebodyElseIsNotTaken(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(netsService)
	id, err := w.oned.For("alice").ReserveNetwork(t.Context(), 0, "SIZE=1\nNAME=\"Priv-"+strconv.Itoa(service)+"\"")
	must(t, err)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceFailedDeployingNets)
	poll.Until(t, "only the foreign network to be left", func() bool {
		left := w.networks()
		return len(left) == 1 && left[0].ID == id
	})
}

func TestNetworkInUseFailsTheEnd(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(netsService)
	must(t, w.sim.FailCall(sim.CallFailure{Method: "one.vn.delete", Code: opennebula.CodeAction, Message: "in use"}))
	w.command(service, flow.VerbUndeploy, nil)
	w.await(service, spec.ServiceFailedUndeployingNets)
	w.undeployed(service)
}

// A service that waits for its networks hears of them, and does not wait for
// its next look.
func TestNetworkEventsReachTheService(t *testing.T) {
	w := newWorld(t)
	settings := quick()
	settings.CheckInterval = time.Hour
	w.startWorker("one", settings)
	w.hear()
	w.sim.SetBootDelay(2 * time.Second) // the worker reads each network once it is made, and must not find it READY
	service := w.service(netsService)
	w.command(service, flow.VerbDeploy, nil)
	poll.Until(t, "both networks to be READY", func() bool {
		ready := 0
		for _, network := range w.networks() {
			if network.State == one.NetworkReady {
				ready++
			}
		}
		return ready == 2
	})
	w.sim.SetBootDelay(0)
	w.await(service, spec.ServiceDeployingNets)
	lease, err := w.pipe.acquire(t.Context(), "nets", "test")
	must(t, err)
	for _, network := range w.networks() {
		event := pipeline.Event{Object: "net", ID: network.ID, State: network.State.String(), Heard: time.Now()}
		must(t, lease.Publish(t.Context(), []feeds.Event{{
			Subject: pipeline.ObjectSubject(0, "net", network.ID, event.State), MessageID: nuid.Next(), Event: event,
		}}))
	}
	w.await(service, spec.ServiceRunning)
}

// A reservation whose text names it is made by the service's name for it all the same, by which it is found and deleted again.
func TestAReservationWithANameOfItsOwnIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed("%s", strings.Replace(netsService, "SIZE=5", `NAME=mine\nSIZE=5`, 1))
	w.undeployed(service)
}

// TestANetworkThatIsNotTheServices: its id was written into the document, or it was renamed at oned. It is left as it is, and keeps no
// service from its end.
func TestANetworkThatIsNotTheServices(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	others, err := w.oned.For("oneadmin").InstantiateNetwork(t.Context(), 0, "production", "")
	must(t, err)
	named, err := w.oned.For("alice").ReserveNetwork(t.Context(), 0, "SIZE=1\nNAME=mine")
	must(t, err)
	for name, strange := range map[string]int{"another user's": others, "of another name": named} {
		t.Run(name, func(t *testing.T) {
			service := w.service(`{"name":"svc","deployment":"none","state":2,"roles":[],"networks_values":[{"N":{"template_id":"0","id":"%d"}}]}`, strange)
			w.accepted(service, flow.VerbUndeploy, nil)
			w.gone(service)
			if network, err := w.oned.Server().Network(t.Context(), strange); err != nil || network.State == one.NetworkLockDelete {
				t.Errorf("the network is %+v: %v", network, err)
			}
		})
	}
}

// TestANetworkOfAServiceThatIsGivenAway: while the network has still its former owner nobody can tell whether it will follow. It is asked
// about again, and not forgotten.
func TestANetworkOfAServiceThatIsGivenAway(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(`{"name":"svc","state":0,"roles":[],"networks_values":[{"N":{"template_id":"0"}}]}`)
	network := w.networks()[0].ID
	must(t, w.oned.Server().ChownDocument(t.Context(), service, 0, -1))
	w.accepted(service, flow.VerbUndeploy, nil)
	w.await(service, spec.ServiceUndeployingNets)
	poll.Until(t, "it to be asked about again", func() bool {
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		must(t, err)
		return len(record.State.Retries) == 1 && record.State.Retries["delete_network N"].Attempts > 1
	})
	must(t, w.oned.Server().ChownNetwork(t.Context(), network, 0, -1))
	w.gone(service)
	w.awaitNoNetworks()
}

// TestAReservationWithCommas: oned refuses commas between attributes, which Sunstone's form writes.
func TestAReservationWithCommas(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	if _, err := w.oned.For("alice").ReserveNetwork(t.Context(), 0, "SIZE=1, NAME=mine"); err == nil {
		t.Fatal("the simulator takes commas, which oned refuses")
	}
	w.undeployed(w.deployed("%s", strings.Replace(netsService, "SIZE=5", `SIZE=5, DESCRIPTION=\"a, b\",`, 1)))
}
