package consumers_test

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
)

// TestARoleWithALongName: the name is longer than the API takes, and than a subject may be. Whoever has written it, the service
// lives and ends as any other.
func TestARoleWithALongName(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	name := strings.Repeat("long", 1000)
	service := w.deployed(`{"name":"s","roles":[{"name":"%s","type":"vm","template_id":0,"cardinality":1,"cooldown":0}]}`, name)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: name, Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Template: []byte(`{"name":"s","roles":[{"name":"` + name + `","template_id":0,"max_vms":3}]}`)})
	if body, _ := w.body(service); len(body.Roles[0].Nodes) != 2 || body.Roles[0].MaxVMs == nil {
		t.Errorf("the role has %d VMs and max_vms %v", len(body.Roles[0].Nodes), body.Roles[0].MaxVMs)
	}
	w.accepted(service, flow.VerbUndeploy, nil)
	w.gone(service)
}
