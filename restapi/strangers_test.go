package restapi

import (
	"fmt"
	"testing"
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
