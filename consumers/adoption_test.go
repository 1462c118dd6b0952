package consumers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// vm is a VM as oned shows it.
func (w *world) vm(id int) one.VM {
	w.t.Helper()
	found, err := w.oned.Server().VM(w.t.Context(), id)
	must(w.t, err)
	return found
}

// untouched makes sure that nobody has asked a VM for anything.
func (w *world) untouched(ids ...int) {
	w.t.Helper()
	for _, id := range ids {
		if vm := w.vm(id); vm.Ending() || !vm.Running() {
			w.t.Errorf("VM %d of %s is in %s/%s", id, vm.Owner.UName, vm.State, vm.LCMState)
		}
	}
}

// nodeIDs are the service's VMs as its document has them.
func (w *world) nodeIDs(service int) (ids []int) {
	body, _ := w.body(service)
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			ids = append(ids, node.DeployID)
		}
	}
	return ids
}

func (w *world) awaitRunning(ids ...int) {
	w.t.Helper()
	for _, id := range ids {
		poll.Until(w.t, fmt.Sprintf("VM %d to run", id), func() bool { return w.vm(id).Running() })
	}
}

// A VM that another user makes up is no node of a service, at no time: while the service
// lacks VMs, while it runs, and while it ends, which it does.
func TestForgedVMsAreNobodysNodes(t *testing.T) {
	for name, key := range map[string]func(service int, real string) string{
		"a made-up key":     func(int, string) string { return "made-up" },
		"a likely key":      func(service int, _ string) string { return fmt.Sprintf("%d-Master-0-kx3j9", service) },
		"a key of a node's": func(_ int, real string) string { return real },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startWorker("w", quick())
			w.hear()
			service := w.deployed(masterSlave, 1, 1)
			real := w.vm(w.nodeIDs(service)[0]).Key
			var forged []int
			for range 20 {
				forged = append(forged, w.forge("oneadmin", service, "Master", key(service, real)))
			}
			w.awaitRunning(forged...)
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
			w.await(service, spec.ServiceRunning)
			for _, id := range w.nodeIDs(service) {
				if vm := w.vm(id); vm.Owner.UName != "alice" {
					t.Errorf("VM %d of %s is a node", id, vm.Owner.UName)
				}
			}
			w.accepted(service, flow.VerbUndeploy, nil)
			poll.Until(t, "the service to end", func() bool { _, exists := w.body(service); return !exists })
			w.untouched(forged...)
		})
	}
}

// Whoever may change a service's document puts VMs into it that are not the service's: none
// of them is ended with the service, scaled away, or told of.
func TestStrangersNodesInADocument(t *testing.T) {
	for name, stranger := range map[string]func(w *world, service int) int{
		"another user's VM": func(w *world, _ int) int {
			id, err := w.oned.For("oneadmin").InstantiateTemplate(w.t.Context(), 0, "bobs", false, "")
			must(w.t, err)
			return id
		},
		"another user's, that names the service": func(w *world, service int) int { return w.forge("oneadmin", service, "Master", "") },
		"the owner's own, of no service": func(w *world, _ int) int {
			id, err := w.oned.For("alice").InstantiateTemplate(w.t.Context(), 0, "own", false, "")
			must(w.t, err)
			return id
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startWorker("w", quick())
			w.hear()
			service := w.deployed(masterSlave, 1, 1)
			vm := stranger(w, service)
			w.awaitRunning(vm)
			body, _ := w.body(service)
			body.Roles[1].Nodes = append(body.Roles[1].Nodes, spec.NewNode(one.VM{ID: vm, Name: "x"}))
			must(w.t, w.oned.For("alice").UpdateDocument(t.Context(), service, encode(t, body)))
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
			w.await(service, spec.ServiceRunning)
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 0})
			w.await(service, spec.ServiceRunning)
			w.untouched(vm)
			why, err := w.pipe.Why(t.Context(), service, w.oned.Server().Refresh)
			must(t, err)
			if text, _ := json.Marshal(why); strings.Contains(string(text), fmt.Sprintf("VM %d ", vm)) {
				t.Errorf("it is told of VM %d: %s", vm, text)
			}
			w.accepted(service, flow.VerbUndeploy, nil)
			poll.Until(t, "the service to end", func() bool { _, exists := w.body(service); return !exists })
			w.untouched(vm)
		})
	}
}

// Events that nobody of OpenNebula has sent shrink nothing, and make no stranger a node.
func TestForgedEvents(t *testing.T) {
	for name, forge := range map[string]func(vm *one.VM){
		"the end of a VM":                func(vm *one.VM) { vm.State, vm.LCMState = one.VMDone, one.LCMInit },
		"a failure":                      func(vm *one.VM) { vm.LCMState = one.LCMBootFailure },
		"another owner":                  func(vm *one.VM) { vm.Owner = one.Identity{UID: 3, UName: "bob"} },
		"another key, of a VM to be":     func(vm *one.VM) { vm.ID, vm.Key = 4711, "made-up" },
		"the end of a VM that never was": func(vm *one.VM) { vm.ID, vm.State, vm.LCMState = 4711, one.VMDone, one.LCMInit },
		"the end of the next VM":         func(vm *one.VM) { vm.ID, vm.State, vm.LCMState = vm.ID+3, one.VMDone, one.LCMInit },
		"the next VM, which runs":        func(vm *one.VM) { vm.ID, vm.Key = vm.ID+3, "made-up" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startWorker("w", quick())
			w.hear()
			service := w.deployed(masterSlave, 1, 2)
			before := w.nodeIDs(service)
			vm := w.vm(before[0])
			forge(&vm)
			_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Event: &pipeline.Event{
				Object: "vm", ID: vm.ID, State: vm.State.String(), LCMState: vm.LCMState.String(), VM: &vm, Heard: time.Now(),
			}}, "")
			must(t, err)
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3})
			w.await(service, spec.ServiceRunning)
			w.exactly(service, 4)
			if made := w.sim.CallCounts()["one.template.instantiate"]; made != 4 {
				t.Errorf("%d VMs were made", made)
			}
			w.accepted(service, flow.VerbUndeploy, nil)
			w.gone(service)
		})
	}
}

// A network or a virtual router whose id somebody has written into a document is not deleted
// with the service, but for one that the service has made.
func TestStrangersNetworksAndRouters(t *testing.T) {
	w := newWorld(t)
	w.startWorker("w", quick())
	w.hear()
	foreign, err := w.oned.For("oneadmin").InstantiateNetwork(t.Context(), 0, "production", "")
	must(t, err)
	router, err := w.oned.For("oneadmin").AllocateRouter(t.Context(), "NAME=\"production\"\n")
	must(t, err)
	ended := []int{}
	for name, body := range map[string]string{
		"a network": fmt.Sprintf(`{"name":"svc","deployment":"none","state":2,"roles":[],
			"networks":{"N":"M|network|n| |template_id:0"},"networks_values":[{"N":{"template_id":"0","id":"%d"}}]}`, foreign),
		"a router": fmt.Sprintf(`{"name":"svc","deployment":"none","state":2,"roles":[{"name":"r","type":"vr","cardinality":0,"template_id":0,"state":2,"vrouter_id":%d,"nodes":[]}]}`, router),
	} {
		t.Run(name, func(t *testing.T) {
			service := w.service("%s", body)
			ended = append(ended, service)
			_ = w.command(service, flow.VerbUndeploy, nil)
			poll.Until(t, "the service to say that it cannot", func() bool {
				body, exists := w.body(service)
				text := string(encode(t, body))
				return !exists || strings.Contains(text, "does not belong to the service")
			})
		})
	}
	grows := w.service(`{"name":"svc","deployment":"none","state":1,"roles":[{"name":"r","type":"vr","cardinality":2,"template_id":1,"state":1,"vrouter_id":%d,"nodes":[]}]}`, router)
	_, err = w.pipe.PublishWork(t.Context(), pipeline.Work{Service: grows, Reason: "it was made past Flowjet"}, "")
	must(t, err)
	w.await(grows, spec.ServiceFailedDeploying)
	// The owner may not see them, so nothing that he may read names them.
	told := w.logged(grows)
	for _, service := range ended {
		transitions, _ := w.history(service)
		told += fmt.Sprintf("\n%+v", transitions)
	}
	if !strings.Contains(told, "does not belong to the service") || strings.Contains(told, "production") {
		t.Errorf("the owner is told %q", told)
	}
	if _, err := w.oned.Server().Network(t.Context(), foreign); err != nil {
		t.Errorf("the network: %v", err)
	}
	if found, err := w.oned.Server().Router(t.Context(), router); err != nil || len(found.VMs) > 0 {
		t.Errorf("the router is %+v (%v)", found, err)
	}
}

// What is made for a service has the group that the service has, by whatever it is made, and
// the owner's primary group where that is the same.
func TestVMsHaveTheServicesGroup(t *testing.T) {
	w := newWorld(t)
	w.startWorker("w", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	const oneadmins = 0
	must(t, w.oned.Server().ChownDocument(t.Context(), service, -1, oneadmins))
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	w.accepted(service, flow.VerbAddRole, flow.AddRoleArguments{Role: json.RawMessage(`{"name":"Added","type":"vm","cardinality":1,"template_id":0}`)})
	w.await(service, spec.ServiceRunning)
	groups := map[int]int{}
	for _, vm := range w.vms(service) {
		groups[vm.Owner.GID]++
		if vm.Owner.UName != "alice" {
			t.Errorf("VM %d is %s's", vm.ID, vm.Owner.UName)
		}
	}
	if groups[oneadmins] != 2 || groups[1] != 2 {
		t.Errorf("VMs by group: %v, want two of the group of before and two of the new one", groups)
	}
	w.accepted(service, flow.VerbUndeploy, nil)
	w.gone(service)
}

// A VM template can name the user whom its VMs belong to (AS_UID). A service has only VMs of its owner: another user's would outlive it.
func TestVMsBelongToTheServicesOwner(t *testing.T) {
	w := newWorld(t)
	w.startWorker("w", quick())
	w.hear()
	update := `<methodCall><methodName>one.template.update</methodName><params><param><value>oneadmin:opennebula</value></param><param><value><int>0</int></value></param>` +
		`<param><value>AS_UID=2</value></param><param><value><int>1</int></value></param></params></methodCall>`
	answer, err := http.Post(w.sim.Endpoint(), "text/xml", strings.NewReader(update))
	must(t, err)
	must(t, answer.Body.Close())
	for _, contents := range []string{`{}`, `{"AS_UID":"2"}`} {
		service := w.service(`{"name":"s","state":0,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"state":0,"template_contents":%s}]}`, contents)
		must(t, w.oned.Server().ChownDocument(t.Context(), service, 0, 0))
		w.accepted(service, flow.VerbDeploy, nil)
		w.await(service, spec.ServiceRunning)
		for _, vm := range w.vms(service) {
			if vm.Owner.UName != "oneadmin" {
				t.Errorf("contents %s: VM %d is %s's", contents, vm.ID, vm.Owner.UName)
			}
		}
		w.accepted(service, flow.VerbUndeploy, nil)
		w.gone(service)
	}
}
