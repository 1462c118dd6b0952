package consumers_test

import (
	"encoding/json"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
)

func TestRolesComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)

	extra := flow.AddRoleArguments{Role: json.RawMessage(`{"name":"Extra","type":"vm","cardinality":2,"template_id":0,"parents":["Slave"]}`)}
	w.accepted(service, flow.VerbAddRole, extra)
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 4)
	if reply := w.command(service, flow.VerbAddRole, extra); reply.Refused != flow.RefusedState {
		t.Errorf("adding it twice: refused %q", reply.Refused)
	}

	update := flow.UpdateArguments{Append: true, Template: json.RawMessage(`{"description":"new"}`)}
	w.accepted(service, flow.VerbUpdate, update)
	w.accepted(service, flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Slave"})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
	body, _ := w.body(service)
	if *body.Description != "new" || len(body.Roles) != 2 || len(body.Roles[1].Parents) != 0 {
		t.Errorf("the document is %s", encode(t, body))
	}
}
