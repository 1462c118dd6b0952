package sim

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
)

// The ids that a new zone begins with.
const (
	serverAdminID = 1
	usersGroup    = 1
)

// seed fills a new zone: the users and groups, network 0 "private", VM
// template 0 "alpine" and what virtual routers and networks are made from.
func seed(t *tx, config Config) {
	c := t.cloud
	for _, g := range []*group{{0, "oneadmin"}, {usersGroup, "users"}} {
		c.groups[g.ID] = g
		t.save(kindGroup, g.ID, g)
	}
	for _, u := range []*user{
		newUser(0, 0, "oneadmin", config.OneadminPassword, driverCore),
		newUser(serverAdminID, 0, "serveradmin", config.ServerPassword, driverServer),
		newUser(2, usersGroup, "alice", config.AlicePassword, driverCore),
	} {
		c.users[u.ID] = u
		t.save(kindUser, u.ID, u)
	}
	private := &network{
		object: asOneadmin(0, "private"), State: opennebula.NetworkReady, PrevState: opennebula.NetworkReady, Parent: -1, FromID: -1,
		Template: networkDefaults("br0"),
	}
	const first, size = 10<<24 | 1, 1 << 20
	private.Ranges = []addressRange{{IP: first, MAC: macPrefix | first, Size: size, Parent: -1}}
	networks.save(t, private)
	alpine := template.Of("CPU", "0.01", "MEMORY", "16", "NAME", "alpine").With(
		template.Vector("CONTEXT", template.Of("NETWORK", "YES", "REPORT_READY", "YES")...),
		template.Vector("NIC", template.Of("NETWORK", "private")...),
	)
	templates.save(t, &storedTemplate{object: asOneadmin(0, "alpine"), Registered: now(), Template: alpine})
	templates.save(t, &storedTemplate{
		object: asOneadmin(1, "vrouter"), Registered: now(), Template: template.Of("CPU", "0.01", "MEMORY", "16", "VROUTER", "YES"),
	})
	vnTemplates.save(t, &storedTemplate{
		object: asOneadmin(0, "vnt"), Registered: now(), Template: template.Of("BRIDGE", "br1", "VN_MAD", dummyDriver),
	})
	c.next[kindUser], c.next[kindGroup] = 3, 100
	c.next[kindNetwork], c.next[kindTemplate], c.next[kindVNTemplate] = 1, 2, 1
	t.save(kindNext, 0, c.next)
}

// asOneadmin is an object of oneadmin's that everybody may use.
func asOneadmin(id int, name string) object {
	return object{ID: id, UName: "oneadmin", GName: "oneadmin", Name: name, Permissions: readableByAll}
}

// Population is a number of services that have been running for a while, for
// tests of size: deploying them one by one would take hours.
type Population struct {
	Services int `json:"services"`
	// Roles is how many roles a service has, each the parent of the next.
	Roles int `json:"roles"`
	// VMs is how many VMs a role has.
	VMs int `json:"vms"`
}

// populationStep is how many services are made under one hold of the lock.
const populationStep = 50

// Populate adds services of oneadmin's whose VMs run, as if they had been there
// before anybody listened: no event tells of them.
func (s *Sim) Populate(p Population) error {
	if p.Services < 0 || p.Roles < 1 || p.VMs < 0 {
		return errors.New("populate the zone: there must be at least one role, and no negative number")
	}
	for first := 0; first < p.Services; first += populationStep {
		var refused *refusal
		wait := s.db.update(func(t *tx) {
			for range min(populationStep, p.Services-first) {
				if refused = populateService(t, p); refused != nil {
					return
				}
			}
		})
		if err := wait(); err != nil {
			return fmt.Errorf("populate the zone: %w", err)
		}
		if refused != nil {
			return fmt.Errorf("populate the zone: %s", refused.message)
		}
	}
	return nil
}

// populateService adds one running service (type 100), whose roles and itself are RUNNING (2).
func populateService(t *tx, p Population) *refusal {
	who := t.cloud.oneadmin()
	id := t.nextID(kindDocument)
	name := "service-" + itoa(id)
	var roles []any
	for n := range p.Roles {
		role := "role" + itoa(n)
		nodes := []any{}
		for i := range p.VMs {
			v, refused := populateVM(t, who, id, role, i)
			if refused != nil {
				return refused
			}
			nodes = append(nodes, map[string]any{"deploy_id": v.ID, "vm_info": map[string]any{"VM": map[string]string{
				"ID": itoa(v.ID), "UID": itoa(v.UID), "GID": itoa(v.GID), "UNAME": v.UName, "GNAME": v.GName, "NAME": v.Name,
			}}})
		}
		made := map[string]any{
			"name": role, "type": "vm", "cardinality": p.VMs, "template_id": 0, "cooldown": 0, "state": 2,
			"nodes": nodes, "on_hold": false, "last_vmname": p.VMs,
		}
		if n > 0 {
			made["parents"] = []string{"role" + itoa(n-1)}
		}
		roles = append(roles, made)
	}
	text, err := json.Marshal(map[string]any{
		"name": name, "deployment": "straight", "roles": roles, "state": 2, "start_time": now(),
	})
	if err != nil {
		return badTemplate(err)
	}
	documents.save(t, &document{
		object: t.cloud.owned(id, name, who), Type: 100, Template: template.Of("BODY", string(text)),
	})
	return nil
}

// populateVM adds a VM of a service's role that runs.
func populateVM(t *tx, who identity, service int, role string, number int) (*vm, *refusal) {
	name := fmt.Sprintf("%s_%d_(service_%d)", role, number, service)
	v, refused := t.makeVM(who, order{from: t.cloud.templates[0], name: name, extra: template.Of(
		"SERVICE_ID", itoa(service), "ROLE_NAME", role, "FLOWJET_KEY", fmt.Sprintf("%d-%s-%d-%d", service, role, number, now()),
	)})
	if refused != nil {
		return nil, refused
	}
	h := t.cloud.hosts.pick(v)
	if h == nil {
		return nil, &refusal{message: "the hosts are full"}
	}
	h.take(v)
	v.History = append(v.History, newHistory(0, h))
	for _, step := range []status{active(one.LCMProlog), active(one.LCMBoot), running} {
		v.State, v.LCM, v.PrevState, v.PrevLCM = step.state, step.lcm, step.state, step.lcm
		t.recordStay(v, step)
	}
	vms.save(t, v)
	return v, nil
}
