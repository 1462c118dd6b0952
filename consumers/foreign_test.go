package consumers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
)

// foreign are running services as others left them, whose roles db and web have VMs whose ids
// come in the places of %[1]d, and of %[2]d and %[3]d.
var foreign = map[string]string{
	"OneFlow 5.12, a VM's data missing": `{"name":"shop","deployment":"straight","roles":[
		{"name":"db","cardinality":1,"vm_template":0,"cooldown":1,"nodes":[{"deploy_id":%[1]d,"vm_info":null}],"state":2,"last_vmname":1,"disposed_nodes":[]},
		{"name":"web","parents":["db"],"cardinality":"2","vm_template":"0","vm_template_contents":"MEMORY=\"32\"\n","cooldown":1,"nodes":[{"deploy_id":%[2]d,"vm_info":null},{"deploy_id":"%[3]d"}],"state":2,"last_vmname":2}],
		"custom_attrs":{},"registration_time":1600000000,"start_time":1600000100,"state":2,"mine":{"a":1}}`,
	"OneFlow 7.4": `{"name":"shop","deployment":"none","roles":[
		{"name":"db","type":"vm","cardinality":1,"template_id":0,"template_contents":{},"cooldown":1,"state":2,"nodes":[{"deploy_id":%[1]d,"vm_info":{"VM":{"ID":"%[1]d","NAME":"db_0"}}}],"on_hold":false,"last_vmname":1},
		{"name":"web","type":"vm","cardinality":2,"template_id":0,"template_contents":{},"cooldown":1,"state":2,"nodes":[{"deploy_id":%[2]d,"vm_info":{"VM":{"ID":"%[2]d","NAME":"web_0"}}},{"deploy_id":%[3]d,"vm_info":{"VM":{"ID":"%[3]d","NAME":"web_1"}}}],"on_hold":false,"last_vmname":2}],
		"registration_time":1790000000,"start_time":1790000100,"state":2,"mine":{"a":1}}`,
	"an editor's": `{"name":"shop","roles":[null,
		{"name":"db","cardinality":-1,"template_id":"0","cooldown":"1","state":"RUNNING","nodes":[%[1]d,null,{"deploy_id":%[1]d}]},
		{"name":"web","type":"vm","cardinality":"two","template_id":0,"cooldown":1,"nodes":[{"deploy_id":%[2]d,"vm_info":{"VM":{"ID":%[2]d}}},{"vm_info":{"VM":{"ID":"%[3]d"}}}],"state":77,"last_vmname":"2"}],
		"registration_time":1790000000,"start_time":"1790000100","state":99,"mine":{"a":1}}`,
	"on its way": `{"name":"shop","deployment":"straight","roles":[
		{"name":"db","type":"vm","cardinality":1,"template_id":0,"cooldown":1,"state":2,"nodes":[{"deploy_id":%[1]d,"vm_info":null}],"last_vmname":1},
		{"name":"web","type":"vm","parents":["db"],"cardinality":2,"template_id":0,"cooldown":1,"state":1,"nodes":[{"deploy_id":%[2]d,"vm_info":null},{"deploy_id":%[3]d,"vm_info":null}]}],
		"registration_time":1790000000,"start_time":1790000100,"state":1,"mine":{"a":1}}`,
}

// A service that another server has left is taken over as it is, driven on, and ended with all its VMs.
func TestServicesOfOthersAreDriven(t *testing.T) {
	for name, text := range foreign {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			service := w.service("{}") // its VMs name it
			var vms []int
			for i, role := range []string{"db", "web", "web"} {
				id, err := w.oned.For("alice").InstantiateTemplate(t.Context(), 0, fmt.Sprintf("%s_%d_(service_%d)", role, i, service), false,
					fmt.Sprintf("SERVICE_ID=\"%d\"\nROLE_NAME=\"%s\"\n", service, role))
				must(t, err)
				vms = append(vms, id)
			}
			w.awaitRunning(vms...)
			must(t, w.oned.For("alice").UpdateDocument(t.Context(), service, fmt.Appendf(nil, text, vms[0], vms[1], vms[2])))
			w.startWorker("w", quick())
			w.hear()
			poll.Until(t, "the service to be taken over", func() bool {
				document, err := w.oned.Server().Document(t.Context(), service)
				must(t, err)
				body, err := spec.ParseBody(document.Body) // before it is put right it may be unreadable
				return err == nil && len(body.Roles) == 2 && len(body.Roles[1].Nodes) == 2 && body.Roles[1].Nodes[1].VMInfo.VM.Name != "" &&
					(spec.Service{Body: body}).State() == spec.ServiceRunning
			})
			if fmt.Sprint(w.nodeIDs(service)) != fmt.Sprint(vms) {
				t.Errorf("it has the VMs %v, not %v", w.nodeIDs(service), vms)
			}
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "web", Cardinality: 3})
			w.await(service, spec.ServiceRunning)
			body, _ := w.body(service)
			for _, role := range body.Roles {
				for _, node := range role.Nodes {
					if vm := node.VMInfo.VM; vm.ID != fmt.Sprint(node.DeployID) || vm.Name == "" || vm.UName != "alice" {
						t.Errorf("VM %d is shown as %+v", node.DeployID, vm)
					}
				}
			}
			if written := string(encode(t, body)); !strings.Contains(written, `"mine":{"a":1}`) || len(w.nodeIDs(service)) != 4 {
				t.Errorf("the document is %s", written)
			}
			w.accepted(service, flow.VerbUndeploy, nil)
			w.gone(service)
			for _, id := range vms {
				if !w.vm(id).Gone() {
					t.Errorf("VM %d is left", id)
				}
			}
		})
	}
}
