package restapi

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// serviceOf is a running service whose roles have so many VMs, made by hand.
func (w *world) serviceOf(user string, sizes ...int) (path string, vms [][]int) {
	w.t.Helper()
	path = w.service(user)
	name, _, _ := strings.Cut(user, ":")
	owner := w.oned.For(name)
	var roles []string
	for i, size := range sizes {
		var ids []int
		var nodes []string
		for range size {
			id, err := w.oned.For("oneadmin").InstantiateTemplate(w.t.Context(), 0, "", false, fmt.Sprintf("SERVICE_ID=\"%d\"\n", idOf(w.t, path)))
			w.must(err)
			ids, nodes = append(ids, id), append(nodes, fmt.Sprintf(`{"deploy_id":%d}`, id))
		}
		vms = append(vms, ids)
		roles = append(roles, fmt.Sprintf(`{"name":"r%d","type":"vm","template_id":0,"cardinality":%d,"state":2,"nodes":[%s]}`, i, size, strings.Join(nodes, ",")))
	}
	body := `{"name":"svc","state":2,"roles":[` + strings.Join(roles, ",") + `]}`
	w.must(owner.UpdateDocument(w.t.Context(), idOf(w.t, path), []byte(body)))
	return path, vms
}

// lostAnswer has the answer to the second action get lost on its way from oned,
// and none reach oned after it.
type lostAnswer struct {
	sessions
	count int
}

func (l *lostAnswer) as(user string, guard opennebula.Guard) session {
	return &lossySession{l.sessions.as(user, guard), l}
}

type lossySession struct {
	session
	of *lostAnswer
}

func (l *lossySession) ScheduleAction(ctx context.Context, vm int, action, args string, at time.Time) (int, error) {
	cut := &opennebula.TransportError{Method: "one.vm.schedadd", Sent: true, Err: errors.New("cut off")}
	if l.of.count++; l.of.count > 2 {
		return 0, cut
	}
	id, err := l.session.ScheduleAction(ctx, vm, action, args, at)
	if l.of.count == 2 {
		return 0, cut
	}
	return id, err
}

// TestAKeyedBatchActsOnce: of a batch of VM actions that broke off, a repetition
// schedules only what is missing, at the times of the first attempt.
func TestAKeyedBatchActsOnce(t *testing.T) {
	began := time.Unix(1_900_000_000, 0)
	w := newWorld(t, Config{now: func() time.Time { return began.Add(time.Hour) }})
	service, vms := w.serviceOf(admin, 4)
	added := w.calls("one.vm.schedadd")
	dying, err := newServer(withDefaults(Config{now: func() time.Time { return began }}), w.pipe, &lostAnswer{sessions: oned{w.oned}}, w.oned.Box())
	w.must(err)
	server := httptest.NewServer(dying.handler)
	defer server.Close()
	broken := *w
	broken.url = server.URL
	batch := perform("reboot", `{"period":60,"number":1}`)
	if got := broken.call(admin, "POST", service+"/action", batch, key, "k9"); got.status != 503 || strings.Contains(got.body, "\n") {
		t.Fatalf("got %+v", got)
	}
	if got := w.call(admin, "POST", service+"/action", batch, key, "k9"); got.status != 204 {
		t.Fatalf("the repetition: %+v", got)
	}
	if len(added()) != len(vms[0]) {
		t.Errorf("%d calls for %d VMs", len(added()), len(vms[0]))
	}
	for i, vm := range vms[0] {
		have, err := w.oned.Server().ScheduledActions(t.Context(), vm)
		w.must(err)
		if len(have) != 1 || have[0].Time != began.Unix()+int64(60*i) || have[0].Action != "reboot" {
			t.Errorf("VM %d has %+v", vm, have)
		}
	}
}

// calls collects the calls of a method that reach oned.
func (w *world) calls(method string) func() []sim.Call {
	var mu sync.Mutex
	var seen []sim.Call
	w.sim.OnCall(func(call sim.Call) {
		mu.Lock()
		defer mu.Unlock()
		if call.Method == method {
			seen = append(seen, call)
		}
	})
	return func() []sim.Call {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

func TestScheduledActionsAreSpreadOverTime(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	w := newWorld(t, Config{now: func() time.Time { return now }})
	service, vms := w.serviceOf(admin, 3, 1)
	added := w.calls("one.vm.schedadd")
	w.expect(admin, "POST", service+"/action", perform("snapshot-create", `{"period":"60","number":2,"args":"a \"b\""}`), 204, "")
	var got []string
	for _, call := range added() {
		if call.User != "oneadmin" {
			t.Errorf("called as %s", call.User)
		}
		got = append(got, strings.Join(call.Arguments, " "))
	}
	var want []string
	for _, vm := range []struct{ id, at int }{{vms[0][0], 0}, {vms[0][1], 0}, {vms[0][2], 60}, {vms[1][0], 0}} {
		want = append(want, fmt.Sprintf("%d SCHED_ACTION = [ACTION = snapshot-create,TIME = %d,ARGS = \"a \\\"b\\\"\"]", vm.id, now.Unix()+int64(vm.at)))
	}
	for i := range got {
		got[i] = unquoted(got[i])
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	w.expect(admin, "POST", service+"/role/r1/action", perform("poweroff", `{"period":"","args":""}`), 204, "")
	if last := added()[len(added())-1]; len(added()) != 5 || !strings.Contains(last.Arguments[1], "TIME = 1900000000]") {
		t.Errorf("got %+v", added())
	}
}

// unquoted undoes the call log's quoting of text arguments.
func unquoted(text string) string {
	id, rest, _ := strings.Cut(text, " ")
	var plain string
	if _, err := fmt.Sscanf(rest, "%q", &plain); err != nil {
		return text
	}
	return id + " " + plain
}

func TestScheduledActionsNeedTheCallersRights(t *testing.T) {
	w := newWorld(t, Config{})
	service, _ := w.serviceOf(alice, 1)
	w.expect(alice, "POST", service+"/action", perform("reboot", `{}`), 401, "check the service of VM")
	w.expect(alice, "DELETE", service+"/sched_action/0", "", 401, "check the service of VM")
}

func TestScheduledActionsAreTakenBack(t *testing.T) {
	w := newWorld(t, Config{now: func() time.Time { return time.Unix(1_900_000_000, 0) }})
	service, _ := w.serviceOf(admin, 1, 1)
	added := w.calls("one.vm.schedadd")
	w.expect(admin, "POST", service+"/action", perform("reboot", `{}`), 204, "")
	id := itoa(added()[1].ID)
	deleted := w.calls("one.vm.scheddelete")
	w.expect(admin, "DELETE", service+"/role/r1/sched_action/"+id, "", 204, "")
	w.expect(admin, "DELETE", service+"/sched_action/"+id, "", 204, "")
	if calls := deleted(); len(calls) != 3 || calls[0].Code != 0 || calls[2].Code == 0 {
		t.Errorf("got %+v", calls)
	}
	w.expect(admin, "DELETE", service+"/role/zz/sched_action/0", "", 500, `no role "zz"`)
	w.expect(admin, "DELETE", "/flowjet/v1"+service+"/role/zz/sched_action/0", "", 404, `no role "zz"`)
	w.expect(admin, "DELETE", service+"/sched_action/x", "", 404, "no scheduled action")
}

func TestFlowjetsOwnAPISaysConflict(t *testing.T) {
	w := newWorld(t, Config{})
	kinds := map[string]flow.RefusalKind{"state": flow.RefusedState, "missing": flow.RefusedMissing, "input": flow.RefusedInput}
	w.worker(func(command flow.Command) pipeline.Reply {
		for name, kind := range kinds {
			if strings.Contains(string(command.Arguments), name) {
				return pipeline.Reply{Refused: kind, Message: "no: " + name}
			}
		}
		return pipeline.Reply{}
	})
	service := "/flowjet/v1" + w.service(alice)
	for role, status := range map[string]int{"state": 409, "missing": 404, "input": 400} {
		w.expect(alice, "POST", service+"/scale", `{"role_name":"`+role+`","cardinality":2}`, status, "no: "+role)
	}
	w.expect(alice, "POST", service+"/action", perform("bogus", `{}`), 400, "not supported")
	w.expect(alice, "POST", service+"/action", perform("rename", `{}`), 400, `"name" is missing`)
	w.expect(alice, "GET", service, "", 200, `"NAME": "svc"`)
}

func TestPurgeDone(t *testing.T) {
	w := newWorld(t, Config{})
	ended, kept, foreign := w.service(alice), w.service(alice), w.service(admin)
	for path, user := range map[string]string{ended: "alice", foreign: "oneadmin"} {
		w.must(w.oned.For(user).UpdateDocument(t.Context(), idOf(t, path), []byte(`{"name":"x","roles":[],"state":5}`)))
	}
	w.expect(alice, "POST", "/service_pool/purge_done", "", 204, "")
	w.expect(alice, "GET", ended, "", 404, "")
	w.expect(alice, "GET", kept, "", 200, "")
	w.expect(admin, "GET", foreign, "", 200, "")
}

func TestCloneAndDeleteWithVMTemplates(t *testing.T) {
	w := newWorld(t, Config{})
	template := w.template(admin)
	clone := func(params string) (string, int) {
		id, body := w.document(w.expect(admin, "POST", template+"/action", perform("clone", params), 201, ""))
		if body.Roles[0].TemplateID != body.Roles[1].TemplateID {
			t.Errorf("the roles' VM templates are %+v", body.Roles)
		}
		return "/service_template/" + id, body.Roles[0].TemplateID
	}
	if _, vm := clone(`{"name":"c1","recursive":"none"}`); vm != 0 {
		t.Errorf("copied to VM template %d", vm)
	}
	_, first := clone(`{"name":"c2"}`)
	path, second := clone(`{"name":"c3","recursive":"all"}`)
	found, err := w.oned.For("oneadmin").VMTemplate(t.Context(), second)
	w.must(err)
	if first == 0 || first == second || found.Name != "alpine-c3" {
		t.Errorf("copied to VM templates %d and %d, %q", first, second, found.Name)
	}
	w.expect(admin, "DELETE", path, `{"delete_type":"templates"}`, 204, "")
	if _, err := w.oned.For("oneadmin").VMTemplate(t.Context(), second); err == nil {
		t.Errorf("VM template %d is still there", second)
	}
	w.must(w.sim.FailCall(sim.CallFailure{Method: "one.document.allocate", Nth: 1, Code: opennebula.CodeAllocate}))
	cloned := w.calls("one.template.clone")
	w.expect(admin, "POST", template+"/action", perform("clone", `{"name":"c4"}`), 500, "")
	if _, err := w.oned.For("oneadmin").VMTemplate(t.Context(), cloned()[0].ID); err == nil {
		t.Error("the copied VM template was left behind")
	}
}

func TestActionsThatDoNotSayArePacedAsConfigured(t *testing.T) {
	for want, config := range map[batch]Config{
		{action: "poweroff", period: 60, number: 1}: {},
		{action: "poweroff", period: 90, number: 2}: {ActionNumber: 2, ActionPeriod: 90 * time.Second},
	} {
		for _, params := range []attributes{{}, {"period": []byte("null"), "number": []byte(" null ")}} {
			config = withDefaults(config)
			read, err := (&vmActions{number: config.ActionNumber, period: config.ActionPeriod}).readBatch("poweroff", params)
			if err != nil || read != want {
				t.Errorf("got %+v %v, want %+v", read, err, want)
			}
		}
	}
}

// Sunstone sends what was not filled in as an empty text, and means all VMs now.
func TestActionsWithoutSpacingAreForNow(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	w := newWorld(t, Config{now: func() time.Time { return now }})
	service, vms := w.serviceOf(admin, 3)
	for i, params := range []string{
		`{"number":"","period":""}`, `{"number":"2","period":""}`, `{"number":"","period":"60"}`, `{"number":0,"period":60}`, `{"number":-1,"period":"-1"}`,
	} {
		w.expect(admin, "POST", service+"/role/r0/action", perform("poweroff", params), 204, "")
		for _, vm := range vms[0] {
			have, err := w.oned.Server().ScheduledActions(t.Context(), vm)
			w.must(err)
			if len(have) != i+1 || have[i].Time != now.Unix() {
				t.Errorf("%s: VM %d has %+v", params, vm, have)
			}
		}
	}
}

// A role that is not on hold has its VMs released, such as those that somebody has put on hold by hand.
func TestReleaseOfARoleThatIsNotOnHold(t *testing.T) {
	w := newWorld(t, Config{})
	service, vms := w.serviceOf(admin, 2)
	w.expect(admin, "POST", service+"/role/r0/action", perform("release", `{"number":"","period":""}`), 204, "")
	for _, vm := range vms[0] {
		have, err := w.oned.Server().ScheduledActions(t.Context(), vm)
		w.must(err)
		if len(have) != 1 || have[0].Action != "release" {
			t.Errorf("VM %d has %+v", vm, have)
		}
	}
}

// Actions leave virtual routers alone: other networks hang on them.
func TestVirtualRoutersTakeNoActions(t *testing.T) {
	w := newWorld(t, Config{})
	service, vms := w.serviceOf(admin, 1, 1)
	_, body := w.document(w.expect(admin, "GET", service, "", 200, ""))
	body.Roles[1].Type = spec.RoleTypeVR
	text, err := body.Text()
	w.must(err)
	w.must(w.oned.For("oneadmin").UpdateDocument(t.Context(), idOf(t, service), text))
	added, removed := w.calls("one.vm.schedadd"), w.calls("one.vm.scheddelete")
	w.expect(admin, "POST", service+"/action", perform("poweroff", `{}`), 204, "")
	w.expect(admin, "POST", service+"/role/r1/action", perform("poweroff", `{}`), 500, "r1 is a virtual router")
	w.expect(admin, "POST", "/flowjet/v1"+service+"/role/r1/action", perform("poweroff", `{}`), 409, "r1 is a virtual router")
	w.expect(admin, "DELETE", service+"/role/r1/sched_action/0", "", 204, "")
	w.expect(admin, "DELETE", service+"/sched_action/0", "", 204, "")
	if len(added()) != 1 || added()[0].ID != vms[0][0] || len(removed()) != 1 || removed()[0].ID != vms[0][0] {
		t.Errorf("asked for %+v and %+v", added(), removed())
	}
}
