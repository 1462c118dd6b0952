package restapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

func TestInstantiateQueuesAndAnswersPending(t *testing.T) {
	w := newWorld(t, Config{})
	action := w.template(alice) + "/action"
	got := w.expect(alice, "POST", action, perform("instantiate", `{"merge_template":{"name":"mine","roles":[{"name":"Master","cardinality":2}]}}`), 201, `"TYPE": "100"`)
	_, body := w.document(got)
	if body.Name != "mine" || *body.State != spec.ServicePending || body.Roles[0].Cardinality != 2 || body.StartTime == 0 {
		t.Errorf("got %+v", body)
	}
	// Nobody worked so far: the command is there for whoever comes.
	command := <-w.worker(accept)
	if command.Verb != flow.VerbDeploy || command.User.UName != "alice" || strings.Contains(string(command.Arguments), "mine") {
		t.Errorf("queued %+v", command)
	}
	// It carries the service, sealed.
	opened, err := command.OpenedArguments(w.oned.Box().Open)
	w.must(err)
	var made flow.DeployArguments
	w.must(json.Unmarshal(opened, &made))
	if carried, err := spec.ParseBody(made.Body); err != nil || carried.Name != "mine" || made.Owner.UName != "alice" {
		t.Errorf("the command carries %s, %v", opened, err)
	}
	if got.header.Get("Content-Type") != "text/html;charset=utf-8" {
		t.Errorf("content type %q", got.header.Get("Content-Type"))
	}
}

func TestCommandsReachTheirWorker(t *testing.T) {
	w := newWorld(t, Config{})
	seen := w.worker(accept)
	service := w.service(alice)
	<-seen
	_, body := w.document(w.expect(alice, "GET", service, "", 200, ""))
	held := spec.RoleHold
	body.Roles[1].State = &held
	text, err := body.Text()
	w.must(err)
	w.must(w.oned.For("alice").UpdateDocument(t.Context(), idOf(t, service), text))
	for _, test := range []struct {
		method, path, body string
		verb               flow.Verb
		arguments          string
	}{
		{"POST", "/scale", `{"role_name":"Master","cardinality":"2"}`, flow.VerbScale, `{"role_name":"Master","cardinality":2,"force":false}`},
		{"POST", "/scale", `{"role_name":"Master","cardinality":9,"force":true}`, flow.VerbScale, `{"role_name":"Master","cardinality":9,"force":true}`},
		{"POST", "/action", `{"action":{"perform":"recover"}}`, flow.VerbRecover, `{"delete":false}`},
		{"POST", "/action", perform("recover", `{"delete":true}`), flow.VerbRecover, `{"delete":true}`},
		{"POST", "/action", perform("release", `{}`), flow.VerbRelease, `{}`},
		{"POST", "/role/Slave/action", perform("release", `{}`), flow.VerbRelease, `{"role_name":"Slave"}`},
		{"POST", "/role_action", perform("add_role", `{"role":{"name":"x"}}`), flow.VerbAddRole, `{"role":{"name":"x"}}`},
		{"POST", "/role_action", perform("add_role", `{"role":"{\"name\":\"x\"}"}`), flow.VerbAddRole, `{"role":{"name":"x"}}`},
		{"POST", "/role_action", perform("remove_role", `{"role":"x"}`), flow.VerbRemoveRole, `{"role_name":"x"}`},
		{"PUT", "", `{"append":true,"template":"{\"description\":\"d\"}"}`, flow.VerbUpdate, `{"append":true,"template":{"description":"d"}}`},
		{"PUT", "", `{"name":"svc","roles":[]}`, flow.VerbUpdate, `{"append":false,"template":{"name":"svc","roles":[]}}`},
		{"DELETE", "", "", flow.VerbUndeploy, ``},
	} {
		got := w.expect(alice, test.method, service+test.path, test.body, 204, "")
		if got.body != "" || got.header.Get("Content-Type") != "" {
			t.Errorf("%s: 204 with %q of %q", test.verb, got.body, got.header.Get("Content-Type"))
		}
		command := <-seen
		arguments, err := command.OpenedArguments(w.oned.Box().Open)
		w.must(err)
		if command.Verb != test.verb || string(arguments) != test.arguments || "/service/"+itoa(command.Service) != service {
			t.Errorf("queued %+v with %s", command, arguments)
		}
	}
}

func TestRefusalsHaveOneFlowsStatuses(t *testing.T) {
	w := newWorld(t, Config{})
	refusals := map[string]flow.RefusalKind{"state": flow.RefusedState, "missing": flow.RefusedMissing, "input": flow.RefusedInput}
	w.worker(func(command flow.Command) pipeline.Reply {
		var arguments flow.ScaleArguments
		_ = json.Unmarshal(command.Arguments, &arguments)
		return pipeline.Reply{Refused: refusals[arguments.Role], Message: "no: " + arguments.Role}
	})
	service := w.service(alice)
	for role, status := range map[string]int{"state": 500, "missing": 500, "input": 400} {
		w.expect(alice, "POST", service+"/scale", `{"role_name":"`+role+`","cardinality":2}`, status, "no: "+role)
	}
}

func TestACommandWithoutAnAnswerCanBeAskedAfter(t *testing.T) {
	w := newWorld(t, Config{replyWait: 10 * time.Millisecond})
	service := w.service(alice)
	got := w.expect(alice, "POST", service+"/scale", `{"role_name":"Master","cardinality":2}`, 202, "queued")
	where := got.header.Get("Location")
	if !strings.HasPrefix(where, "/flowjet/v1/commands/") || strings.Count(strings.TrimSpace(got.body), "\n") != 0 {
		t.Errorf("got Location %q and %q", where, got.body)
	}
	for _, user := range []string{alice, admin} {
		if got := w.expect(user, "GET", where, "", 200, `"state": "queued"`); got.header.Get("Content-Type") != "application/json" {
			t.Errorf("content type %q", got.header.Get("Content-Type"))
		}
	}
	// oneadmin's are not alice's business.
	got = w.expect(admin, "DELETE", service, "", 202, "")
	w.expect(alice, "GET", got.header.Get("Location"), "", 404, "there is no command")
	w.expect(alice, "GET", "/flowjet/v1/commands/nope", "", 404, "there is no command")
	w.expect(alice, "GET", "/flowjet/v1/commands/a.b%2F*", "", 404, "")
}

func TestRightsAreOneds(t *testing.T) {
	w := newWorld(t, Config{})
	w.worker(accept)
	service := w.service(admin)
	scale := `{"role_name":"Master","cardinality":2}`
	w.expect(alice, "GET", service, "", 401, "Not authorized")
	w.expect(alice, "POST", service+"/scale", scale, 401, "Not authorized")
	w.expect(alice, "DELETE", service, "", 401, "Not authorized")
	w.expect(alice, "POST", service+"/action", perform("rename", `{"name":"x"}`), 401, "Not authorized")
	if got := w.expect(alice, "GET", "/service", "", 200, ""); strings.Contains(got.body, "svc") {
		t.Errorf("alice sees %s", got.body)
	}
	// USE lets her look, and nothing more.
	w.expect(admin, "POST", service+"/action", perform("chmod", `{"octet":"604"}`), 204, "")
	w.expect(alice, "GET", service, "", 200, `"NAME": "svc"`)
	w.expect(alice, "POST", service+"/scale", scale, 401, "MANAGE")
	w.expect(alice, "DELETE", service, "", 401, "MANAGE")
	w.expect(alice, "POST", service+"/action", perform("recover", `{"delete":true}`), 401, "MANAGE")
	w.expect(admin, "POST", service+"/action", perform("chmod", `{"octet":"606"}`), 204, "")
	w.expect(alice, "POST", service+"/scale", scale, 204, "")
}

func TestADocumentOfAnotherTypeIsNotThere(t *testing.T) {
	w := newWorld(t, Config{})
	template, service := w.template(admin), w.service(admin)
	asService := strings.Replace(template, "/service_template/", "/service/", 1)
	asTemplate := strings.Replace(service, "/service/", "/service_template/", 1)
	for path, body := range map[string]string{
		asService + "/scale": `{"role_name":"a","cardinality":1}`, asService + "/action": perform("recover", "{}"),
		asTemplate + "/action": perform("instantiate", "{}"),
	} {
		w.expect(admin, "POST", path, body, 500, "there is no service")
	}
	for _, path := range []string{asService, asTemplate} {
		w.expect(admin, "GET", path, "", 500, "there is no service")
		w.expect(admin, "DELETE", path, "", 500, "there is no service")
	}
	w.expect(admin, "PUT", asTemplate, twoRoles, 500, "there is no service template")
}

func TestServiceInputIsHeldUpFirst(t *testing.T) {
	w := newWorld(t, Config{})
	service := w.service(admin)
	for _, test := range []struct {
		path, body string
		status     int
		part       string
	}{
		{"/scale", `not json`, 400, "must be a JSON object"},
		{"/scale", `[]`, 400, "must be a JSON object"},
		{"/scale", `null`, 400, "must be a JSON object"},
		{"/scale", `{}`, 400, `"cardinality" is missing`},
		{"/scale", `{"cardinality":2}`, 500, `"role_name" is missing`},
		{"/scale", `{"role_name":"Master"}`, 400, `"cardinality" is missing`},
		{"/scale", `{"role_name":"Master","cardinality":-1}`, 400, `"cardinality" must be a whole number`},
		{"/scale", `{"role_name":"Master","cardinality":1.5}`, 400, `"cardinality" must be a whole number`},
		{"/scale", `{"role_name":"Master","cardinality":1,"force":"yes"}`, 400, `"force" must be true or false`},
		{"/action", `{}`, 400, `"action" is missing`},
		{"/action", `{"action":{}}`, 500, `"perform" is missing`},
		{"/role/Master/action", `{"action":{}}`, 400, `"perform" is missing`},
		{"/action", `{"action":[]}`, 400, `"action" must be a JSON object`},
		{"/action", perform("recover", `[]`), 400, `"params" must be a JSON object`},
		{"/action", perform("recover", `{"delete":"yes"}`), 400, `"delete" must be true or false`},
		{"/action", perform("bogus", `{}`), 500, `supported are chgrp, chmod, chown, disk-snapshot-create`},
		{"/action", `{"action":{"perform":"reboot"}}`, 400, `"params" is missing`},
		{"/action", perform("reboot", `{"number":"x"}`), 400, `"number" must be a whole number`},
		{"/action", perform("reboot", `{"args":"a\u0001"}`), 400, `no control characters`},
		{"/action", perform("reboot", `{"args":"a\ud83d\ude00"}`), 400, `must not have emoji`},
		{"/role/Master/action", perform("bogus", `{}`), 400, `"bogus" of a role is not supported`},
		{"/role/zz/action", perform("reboot", `{}`), 500, `no role "zz"`},
		{"/role_action", perform("bogus", `{}`), 400, `supported are add_role, remove_role`},
		{"/role_action", perform("add_role", `{}`), 400, `"role" is missing`},
		{"/role_action", perform("add_role", `{"role":"{bad"}`), 400, `"role" must be a JSON object`},
		{"/role_action", perform("remove_role", `{"role":{}}`), 400, `"role" must be a string`},
		{"/action", perform("rename", `{}`), 500, `"name" is missing`},
		{"/action", strings.Repeat(`{"a":`, 100), 400, `nested deeper`},
	} {
		got := w.expect(admin, "POST", service+test.path, test.body, test.status, test.part)
		if strings.Contains(got.body, "Go value") {
			t.Errorf("%s tells what it is in the program: %s", test.body, got.body)
		}
	}
}

func TestServiceActionsOnTheDocument(t *testing.T) {
	w := newWorld(t, Config{replyWait: time.Millisecond})
	service := w.service(admin)
	w.expect(admin, "POST", service+"/action", perform("rename", `{"name":"other"}`), 204, "")
	w.expect(admin, "POST", service+"/action", perform("chgrp", `{"group_id":"1"}`), 204, "")
	w.expect(admin, "POST", service+"/action", perform("chmod", `{"octet":"660"}`), 204, "")
	got := w.expect(admin, "GET", service, "", 200, `"NAME": "other"`)
	for _, part := range []string{`"GID": "1"`, `"GROUP_M": "1"`, `"name": "svc"`} {
		if !strings.Contains(got.body, part) {
			t.Errorf("%s is not in %s", part, got.body)
		}
	}
}

// TestChownMovesAllOrNothing gives a service two VMs by hand.
func TestChownMovesAllOrNothing(t *testing.T) {
	w := newWorld(t, Config{replyWait: time.Millisecond})
	service := w.service(admin)
	owner := w.oned.For("oneadmin")
	ofService := fmt.Sprintf("SERVICE_ID=\"%d\"\n", idOf(t, service))
	first, err := owner.InstantiateTemplate(t.Context(), 0, "one", false, ofService)
	w.must(err)
	second, err := owner.InstantiateTemplate(t.Context(), 0, "two", false, ofService)
	w.must(err)
	body := `{"name":"svc","roles":[{"name":"a","type":"vm","cardinality":2,"template_id":0,"nodes":[{"deploy_id":` +
		itoa(first) + `},{"deploy_id":` + itoa(second) + `},{"deploy_id":99999}]}],"state":2}`
	w.must(owner.UpdateDocument(t.Context(), idOf(t, service), []byte(body)))
	aliceID := w.userID("alice")
	chown := perform("chown", `{"owner_id":`+itoa(aliceID)+`,"group_id":1}`)

	w.must(w.sim.FailCall(sim.CallFailure{Method: "one.vm.chown", Nth: 2}))
	w.expect(admin, "POST", service+"/action", chown, 500, "change the owner of VM "+itoa(second))
	if uids := w.owners(service, first, second); uids != [3]int{0, 0, 0} {
		t.Errorf("after a failure the owners are %v", uids)
	}
	w.sim.ClearFaults()
	w.expect(admin, "POST", service+"/action", chown, 204, "")
	if uids := w.owners(service, first, second); uids != [3]int{aliceID, aliceID, aliceID} {
		t.Errorf("the owners are %v, want %d", uids, aliceID)
	}
}

// oned lets a user with MANAGE for his group take a document, but neither its VMs nor return the document: a service is not left
// with an owner who has none of its VMs.
func TestChownByAUserWithoutTheVMsChangesNothing(t *testing.T) {
	w := newWorld(t, Config{replyWait: time.Millisecond})
	service := w.service(alice)
	owner, bob := w.oned.For("alice"), "bob:bob"
	w.rpc("one.user.allocate", admin, "bob", "bob")
	vm, err := owner.InstantiateTemplate(t.Context(), 0, "one", false, fmt.Sprintf("SERVICE_ID=\"%d\"\n", idOf(t, service)))
	w.must(err)
	body := `{"name":"svc","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"nodes":[{"deploy_id":` + itoa(vm) + `}]}],"state":2}`
	w.must(owner.UpdateDocument(t.Context(), idOf(t, service), []byte(body)))
	w.expect(alice, "POST", service+"/action", perform("chmod", `{"octet":"660"}`), 204, "")

	w.expect(bob, "POST", service+"/action", perform("chown", `{"owner_id":`+itoa(w.userID("bob"))+`}`), 401, "VM "+itoa(vm))
	if uids := w.owners(service, vm, vm); uids != [3]int{w.userID("alice"), w.userID("alice"), w.userID("alice")} {
		t.Errorf("the owners are %v", uids)
	}
}

// A change of the owner that a kill cut off behind the document is completed by its repetition, and by a change to somebody else:
// those VMs were of the owner before.
func TestChownThatWasCutOffIsCompleted(t *testing.T) {
	for name, to := range map[string]string{"repeated": "oneadmin", "to another": "serveradmin"} {
		t.Run(name, func(t *testing.T) {
			for _, noticed := range []bool{true, false} {
				w := newWorld(t, Config{})
				w.whole()
				service := w.running(alice)
				_, body := w.document(w.expect(alice, "GET", service, "", 200, ""))
				vm := body.Roles[0].Nodes[0].DeployID
				w.must(w.oned.Server().ChownDocument(t.Context(), idOf(t, service), w.userID("oneadmin"), -1))
				if noticed { // by the worker
					w.expect(admin, "PUT", service, `{"append":true,"template":{"description":"noticed"}}`, 204, "")
				}
				want := w.userID(to)
				w.expect(admin, "POST", service+"/action", perform("chown", fmt.Sprintf(`{"owner_id":%d}`, want)), 204, "")
				if uids := w.owners(service, vm, vm); uids != [3]int{want, want, want} {
					t.Errorf("the owners are %v, want %d", uids, want)
				}
			}
		})
	}
}

// A change of owner that was cut off and not repeated in time is completed from the owner whom the VMs still have, as the worker's log advises.
func TestChownThatWasCutOffLongAgoIsCompleted(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	service := w.running(alice)
	_, body := w.document(w.expect(alice, "GET", service, "", 200, ""))
	vm := body.Roles[0].Nodes[0].DeployID
	w.must(w.oned.Server().ChownVM(t.Context(), vm, w.userID("oneadmin"), -1)) // whom the record does not know as the service's owner
	for _, user := range []string{"oneadmin", "alice"} {
		want := w.userID(user)
		w.expect(admin, "POST", service+"/action", perform("chown", fmt.Sprintf(`{"owner_id":%d}`, want)), 204, "")
		if uids := w.owners(service, vm, vm); uids != [3]int{want, want, want} {
			t.Errorf("the owners are %v, want %d", uids, want)
		}
	}
}

// The networks that a service has made go to its new owner, as whom the worker deletes them. One that only stands in the
// document stays.
func TestChownMovesTheServicesOwnNetworks(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	made := w.expect(admin, "POST", "/service_template", `{"name":"nets","networks":{"Priv":"M|network| | |template_id:0","Old":"M|network| | |id:0"},
		"networks_values":[{"Priv":{"template_id":"0","extra":"AR=[TYPE=IP4,IP=10.9.9.1,SIZE=9]"}},{"Old":{"id":"0"}}],
		"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"template_contents":{"NIC":[{"NETWORK_ID":"$Priv"}]}}]}`, 201, "")
	id, _ := w.document(made)
	id, _ = w.document(w.expect(admin, "POST", "/service_template/"+id+"/action", perform("instantiate", `{}`), 201, ""))
	service := "/service/" + id
	running := func() bool {
		_, body := w.document(w.expect(admin, "GET", service, "", 200, ""))
		return *body.State == spec.ServiceRunning
	}
	poll.Until(t, "the service to run", running)
	w.must(w.sim.FailCall(sim.CallFailure{Method: "one.vn.chown", Nth: 1}))
	w.expect(admin, "POST", service+"/action", perform("chown", `{"owner_id":"2"}`), 500, "change the owner of network")
	w.sim.ClearFaults()
	if got := w.networkOwners(); got["Priv-"+id] != 0 || got["Priv-"+id] != w.documentOwner(service) {
		t.Errorf("after a failure the owners are %v", got)
	}
	w.expect(admin, "POST", service+"/action", perform("chown", `{"owner_id":"2"}`), 204, "")
	for name, uid := range w.networkOwners() {
		if mine := name == "Priv-"+id; mine != (uid == 2) {
			t.Errorf("network %s is user %d's", name, uid)
		}
	}
	w.expect(alice, "DELETE", service, "", 204, "")
	poll.Until(t, "the service to end", func() bool { return w.call(admin, "GET", service, "").status == 404 })
	if _, left := w.networkOwners()["Priv-"+id]; left {
		t.Error("its network is left behind")
	}
}

// networkOwners are the users of all networks, by the networks' names.
func (w *world) networkOwners() map[string]int {
	networks, err := w.oned.Server().Networks(w.t.Context(), opennebula.FilterAll)
	w.must(err)
	owners := map[string]int{}
	for _, network := range networks {
		owners[network.Name] = network.Owner.UID
	}
	return owners
}

func (w *world) documentOwner(service string) int {
	document, err := w.oned.Server().Document(w.t.Context(), idOf(w.t, service))
	w.must(err)
	return document.Owner.UID
}

// Terraform gives a service to its owner while it is being deployed: the VMs that are being made are moved as well, and
// the owner can end them.
func TestChownWhileVMsAreMade(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	w.sim.SetCallDelay("one.template.instantiate", 300*time.Millisecond)
	var saved sync.Once
	underWay := make(chan struct{})
	w.sim.OnCall(func(call sim.Call) {
		if call.Method == "one.document.update" { // the service is DEPLOYING
			saved.Do(func() { close(underWay) })
		}
	})
	service := w.service(admin)
	<-underWay
	w.expect(admin, "POST", service+"/action", perform("chown", `{"owner_id":"2","group_id":"-1"}`), 204, "")
	w.expect(admin, "POST", service+"/action", perform("chown", `{"owner_id":"-1","group_id":"1"}`), 204, "")
	var body spec.Body
	poll.Until(t, "the service to run", func() bool {
		_, body = w.document(w.expect(admin, "GET", service, "", 200, ""))
		return *body.State == spec.ServiceRunning
	})
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			vm, err := w.oned.Server().VM(t.Context(), node.DeployID)
			w.must(err)
			if vm.Owner.UID != 2 || vm.Owner.GID != 1 {
				t.Errorf("VM %d of role %s is %+v's", vm.ID, role.Name, vm.Owner)
			}
		}
	}
	w.expect(alice, "DELETE", service, "", 204, "")
	poll.Until(t, "the service to end", func() bool { return w.call(admin, "GET", service, "").status == 404 })
}

func (w *world) userID(name string) int {
	user, err := w.oned.For(name).User(w.t.Context(), -1)
	w.must(err)
	return user.Identity.UID
}

// owners are the user ids of a service's document and of two VMs.
func (w *world) owners(service string, first, second int) [3]int {
	w.t.Helper()
	oned := w.oned.For("oneadmin")
	document, err := oned.Document(w.t.Context(), idOf(w.t, service))
	w.must(err)
	one, err := oned.VM(w.t.Context(), first)
	w.must(err)
	two, err := oned.VM(w.t.Context(), second)
	w.must(err)
	return [3]int{document.Owner.UID, one.Owner.UID, two.Owner.UID}
}

func TestChownMovesVirtualRouters(t *testing.T) {
	w := newWorld(t, Config{replyWait: time.Millisecond})
	service := w.service(admin)
	owner := w.oned.For("oneadmin")
	router, err := owner.AllocateRouter(t.Context(), fmt.Sprintf(`NAME="a(service_%d)"`, idOf(t, service)))
	w.must(err)
	body := `{"name":"svc","roles":[{"name":"a","type":"vr","cardinality":1,"template_id":1,"vrouter_id":` + itoa(router) + `,"nodes":[{"deploy_id":99999}]}],"state":2}`
	w.must(owner.UpdateDocument(t.Context(), idOf(t, service), []byte(body)))
	aliceID := w.userID("alice")
	w.expect(admin, "POST", service+"/action", perform("chown", `{"owner_id":`+itoa(aliceID)+`}`), 204, "")
	if moved, err := owner.Router(t.Context(), router); err != nil || moved.Owner.UID != aliceID {
		t.Errorf("the router is %+v, %v", moved, err)
	}
}
