package restapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
)

// What a tenant writes into his service's document is not done to strangers' VMs with an
// administrator's rights: they are not given away, and nothing is scheduled for them.
func TestAdministratorsActOnNoStrangersNodes(t *testing.T) {
	for name, extra := range map[string]string{
		"a VM of no service":      "",
		"a VM that says it is":    "SERVICE_ID=\"%d\"\nROLE_NAME=\"r0\"\n",
		"a VM with a made-up key": "SERVICE_ID=\"%d\"\nFLOWJET_KEY=\"made-up\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			w.whole()
			service := w.service(alice)
			id := idOf(t, service)
			if extra != "" {
				extra = fmt.Sprintf(extra, id)
			}
			stranger, err := w.oned.For("oneadmin").InstantiateTemplate(t.Context(), 0, "production", false, extra)
			w.must(err)
			w.must(w.oned.For("alice").UpdateDocument(t.Context(), id, fmt.Appendf(nil,
				`{"name":"svc","state":2,"roles":[{"name":"r0","type":"vm","template_id":0,"cardinality":1,"state":2,"nodes":[{"deploy_id":%d}]}]}`, stranger)))
			w.expect(admin, "POST", service+"/role/r0/action", perform("poweroff-hard", `{}`), 204, "")
			scheduled, err := w.oned.Server().ScheduledActions(t.Context(), stranger)
			w.must(err)
			if len(scheduled) > 0 {
				t.Errorf("scheduled for it: %+v", scheduled)
			}
			w.expect(admin, "POST", service+"/action", perform("chgrp", `{"group_id":1}`), 204, "")
			w.expect(admin, "POST", service+"/action", perform("chown", fmt.Sprintf(`{"owner_id":%d}`, w.userID("serveradmin"))), 204, "")
			vm, err := w.oned.Server().VM(t.Context(), stranger)
			w.must(err)
			if vm.Owner.UID != 0 || vm.Owner.GID != 0 {
				t.Errorf("it is %+v's now", vm.Owner)
			}
		})
	}
}

// Nor are they when the administrator owns the service, and somebody who may manage it has written
// into its document.
func TestOwnersActOnNoStrangersNodes(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	service := w.running(admin)
	stranger, err := w.oned.For("alice").InstantiateTemplate(t.Context(), 0, "production", false, "")
	w.must(err)
	w.must(w.oned.Server().UpdateDocument(t.Context(), idOf(t, service), fmt.Appendf(nil,
		`{"name":"svc","state":2,"roles":[{"name":"r0","type":"vm","template_id":0,"cardinality":1,"state":2,"nodes":[{"deploy_id":%d},{"deploy_id":4711}]}]}`, stranger)))
	for _, call := range [][3]string{
		{"POST", "/action", perform("terminate-hard", `{}`)}, {"POST", "/role/r0/action", perform("poweroff", `{}`)}, {"DELETE", "/sched_action/0", ""},
	} {
		w.expect(admin, call[0], service+call[1], call[2], 204, "")
	}
	scheduled, err := w.oned.Server().ScheduledActions(t.Context(), stranger)
	w.must(err)
	if len(scheduled) > 0 {
		t.Errorf("scheduled for it: %+v", scheduled)
	}
}

// An administrator who gives a service away does not give strangers' virtual routers away that
// a tenant has written into its document.
func TestAdministratorsGiveNoStrangersRoutersAway(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	owner := func(id int) int {
		router, err := w.oned.Server().Router(t.Context(), id)
		w.must(err)
		return router.Owner.UID
	}
	to := perform("chown", fmt.Sprintf(`{"owner_id":%d}`, w.userID("serveradmin")))
	for name, extra := range map[string]string{
		"of no service":      "NAME=\"production\"\n",
		"with a made-up key": "NAME=\"other\"\nFLOWJET_KEY=\"27-r0-0-kx3j9\"\n",
		"with its name":      "NAME=\"r0_(service_27)\"\n",
	} {
		service := w.service(alice)
		id := idOf(t, service)
		router, err := w.oned.For("oneadmin").AllocateRouter(t.Context(), strings.ReplaceAll(extra, "27", fmt.Sprint(id)))
		w.must(err)
		w.must(w.oned.For("alice").UpdateDocument(t.Context(), id, fmt.Appendf(nil,
			`{"name":"svc","state":2,"roles":[{"name":"r0","type":"vr","template_id":0,"cardinality":0,"state":2,"vrouter_id":%d,"nodes":[]}]}`, router)))
		w.expect(admin, "POST", service+"/action", to, 204, "")
		if got := owner(router); got != 0 {
			t.Errorf("a router %s is user %d's now", name, got)
		}
	}
}

// A VM whose user template and name tell nothing is given away and acted on with its service, for the service's record has it.
func TestAVMThatOnlyTheRecordKnowsGoesWithItsService(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	service := w.running(alice)
	_, body := w.document(w.expect(alice, "GET", service, "", 200, ""))
	role := &body.Roles[0]
	own := role.Nodes[0].DeployID
	w.must(w.oned.For("alice").UpdateVM(t.Context(), own, "NOTE=mine", false))
	w.rpc("one.vm.rename", admin, own, "renamed")
	private, err := w.oned.For("alice").InstantiateTemplate(t.Context(), 0, "private", false, "")
	w.must(err)
	role.Nodes, role.Cardinality = append(role.Nodes, spec.Node{DeployID: private}), role.Cardinality+1
	text, err := body.Text()
	w.must(err)
	w.must(w.oned.For("alice").UpdateDocument(t.Context(), idOf(t, service), text))
	w.expect(alice, "POST", service+"/role/"+role.Name+"/action", perform("poweroff-hard", `{}`), 204, "")
	w.expect(admin, "POST", service+"/action", perform("chown", fmt.Sprintf(`{"owner_id":%d}`, w.userID("serveradmin"))), 204, "")
	for vm, want := range map[int]struct{ actions, owner int }{own: {1, w.userID("serveradmin")}, private: {0, w.userID("alice")}} {
		scheduled, err := w.oned.Server().ScheduledActions(t.Context(), vm)
		w.must(err)
		seen, err := w.oned.Server().VM(t.Context(), vm)
		w.must(err)
		if len(scheduled) != want.actions || seen.Owner.UID != want.owner || vm == own && (seen.Service >= 0 || seen.Name != "renamed") {
			t.Errorf("VM %d (%s, of service %d) is user %d's, not %d's, with %d actions, not %d",
				vm, seen.Name, seen.Service, seen.Owner.UID, want.owner, len(scheduled), want.actions)
		}
	}
}
