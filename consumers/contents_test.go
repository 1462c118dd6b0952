package consumers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

func TestContentsInputsAndParentsReachTheVM(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(`{"name":"web","deployment":"straight","state":0,"user_inputs_values":{"DBUSER":"b\"ob"},"roles":[
	 {"name":"db","type":"vm","cardinality":1,"template_id":0,"state":0},
	 {"name":"web","type":"vm","cardinality":1,"template_id":0,"parents":["db"],"state":0,
	  "template_contents":{"MEMORY":32,"DB_IP":"${db.TEMPLATE.CONTEXT.ETH0_IP}","NOTHING":"${db.TEMPLATE.NOPE}"}}]}`)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
	vms := map[string]one.Template{}
	for _, vm := range w.vms(service) {
		tree, err := w.oned.Server().VMTree(t.Context(), vm.ID)
		must(t, err)
		vms[vm.Role] = tree
	}
	address, _ := vms["db"].Lookup("TEMPLATE", "NIC", "IP")
	for _, test := range []struct {
		role string
		path []string
		want string
	}{
		{"db", []string{"TEMPLATE", "MEMORY"}, "16"},
		{"db", []string{"TEMPLATE", "CONTEXT", "DBUSER"}, `b"ob`},
		{"db", []string{"USER_TEMPLATE", "DBUSER"}, `b"ob`},
		{"web", []string{"TEMPLATE", "MEMORY"}, "32"},
		{"web", []string{"TEMPLATE", "CONTEXT", "REPORT_READY"}, "YES"},
		{"web", []string{"USER_TEMPLATE", "DB_IP"}, address},
		{"web", []string{"USER_TEMPLATE", "NOTHING"}, ""},
	} {
		if got, _ := vms[test.role].Lookup(test.path...); got != test.want {
			t.Errorf("role %s: %v is %q, want %q", test.role, test.path, got, test.want)
		}
	}
	if address == "" {
		t.Error("the parent has no address")
	}
}

func TestForbiddenTemplateFailsTheRole(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(`{"name":"x","state":0,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":777,"template_contents":{"A":"1"},"state":0}]}`)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceFailedDeploying)
}

// Inputs in contents reach the VM, and what the service says of itself where it was asked for.
func TestVariablesInContentsReachTheVM(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(`{"name":"web","expand":true,"state":0,"user_inputs":{"RAM":"M|number|r| |32","PASS":"M|password|p| |"},"user_inputs_values":{"RAM":"48","PASS":"a$NAME"},"roles":[
	 {"name":"a","type":"vm","cardinality":2,"template_id":0,"state":0,
	  "template_contents":{"MEMORY":"$RAM","LABELS":"$ROLE_NAME-$VM_NUMBER","CONTEXT":{"HOSTNAME":"$SERVICE_NAME-$VM_NUMBER","PASSWORD":"$PASS","OWN":"$NAME/$VMID"}}}]}`)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
	for _, vm := range w.vms(service) {
		tree, err := w.oned.Server().VMTree(t.Context(), vm.ID)
		must(t, err)
		for path, want := range map[string]string{
			"TEMPLATE MEMORY": "48", "USER_TEMPLATE LABELS": fmt.Sprintf("a-%d", vm.ID), "TEMPLATE CONTEXT HOSTNAME": fmt.Sprintf("web-%d", vm.ID),
			"TEMPLATE CONTEXT PASSWORD": "a$NAME", "TEMPLATE CONTEXT OWN": fmt.Sprintf("%s/%d", vm.Name, vm.ID),
		} {
			if got, _ := tree.Lookup(strings.Fields(path)...); got != want {
				t.Errorf("VM %d: %s is %q, want %q", vm.ID, path, got, want)
			}
		}
	}
}

// A role whose type is not its VM template's fails with oned's words, and the service can go.
func TestRolesOfAnotherTypeThanTheirTemplates(t *testing.T) {
	for name, test := range map[string]struct{ role, said string }{
		"a VM's of a router's template":  {`"type":"vm","template_id":1`, "Virtual router templates cannot be instantiated"},
		"the same, with contents":        {`"type":"vm","template_id":1,"template_contents":{"VROUTER":"NO"}`, "Virtual router templates cannot be instantiated"},
		"a router's of a plain template": {`"type":"vr","template_id":0`, "Only virtual router templates are allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startWorker("one", quick())
			w.hear()
			service := w.service(`{"name":"x","state":0,"roles":[{"name":"a","cardinality":1,"state":0,%s}]}`, test.role)
			w.command(service, flow.VerbDeploy, nil)
			w.await(service, spec.ServiceFailedDeploying)
			if body, _ := w.body(service); !strings.Contains(string(encode(t, body)), test.said) {
				t.Errorf("the log lacks %q: %s", test.said, encode(t, body))
			}
			w.accepted(service, flow.VerbRecover, flow.RecoverArguments{Delete: true})
			w.gone(service)
		})
	}
}
