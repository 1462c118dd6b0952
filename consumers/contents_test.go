package consumers_test

import (
	"testing"

	"github.com/flowjet/flowjet/flow"
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
	w.await(service, flow.ServiceRunning)
	w.exactly(service, 2)
	vms := map[string]flow.Template{}
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
	w.await(service, flow.ServiceFailedDeploying)
}
