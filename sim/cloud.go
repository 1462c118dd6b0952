package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
)

// cloud is oned's state. Its owner's lock guards it.
type cloud struct {
	pools
	hosts   *hosts
	waiting []int // pending VMs for which no host had room
	done    []int // the ended VMs in the order of their ends
}

func newCloud() *cloud { return &cloud{pools: newPools(), hosts: newHosts()} }

// pools are oned's objects, which are stored and replicated.
type pools struct {
	users       pool[user]
	groups      pool[group]
	documents   pool[document]
	templates   pool[storedTemplate]
	vms         pool[vm]
	networks    pool[network]
	vnTemplates pool[storedTemplate]
	vrouters    pool[vrouter]
	byKind      map[string]records // the same pools
	next        map[string]int     // the next id of each kind; it only grows
}

// The kinds of records. The next ids are in no pool.
const (
	kindUser       = "user"
	kindGroup      = "group"
	kindDocument   = "document"
	kindTemplate   = "template"
	kindVM         = "vm"
	kindNetwork    = "network"
	kindVNTemplate = "vntemplate"
	kindVRouter    = "vrouter"
	kindNext       = "next"
)

func newPools() pools {
	p := pools{
		users: pool[user]{}, groups: pool[group]{}, documents: pool[document]{},
		templates: pool[storedTemplate]{}, vms: pool[vm]{}, networks: pool[network]{},
		vnTemplates: pool[storedTemplate]{}, vrouters: pool[vrouter]{}, next: map[string]int{},
	}
	p.byKind = map[string]records{
		kindUser: p.users, kindGroup: p.groups, kindDocument: p.documents, kindTemplate: p.templates, kindVM: p.vms,
		kindNetwork: p.networks, kindVNTemplate: p.vnTemplates, kindVRouter: p.vrouters,
	}
	return p
}

// pool has all objects of one kind by their ids.
type pool[T any] map[int]*T

// records are the operations of the state file and the replicas on a pool of any kind.
type records interface {
	restore(id int, content []byte) error
	// put sets an object, or removes it if item is nil.
	put(id int, item any)
	// copyOf returns a copy of an object; nil stays nil.
	copyOf(item any) any
	// copies returns copies of all objects by their ids.
	copies() map[int]any
}

func (p pool[T]) restore(id int, content []byte) error {
	item := new(T)
	if err := json.Unmarshal(content, item); err != nil {
		return err
	}
	p[id] = item
	return nil
}

func (p pool[T]) put(id int, item any) {
	if object, there := item.(*T); there {
		p[id] = object
		return
	}
	delete(p, id)
}

func (p pool[T]) copyOf(item any) any {
	if item == nil {
		return nil
	}
	c := *item.(*T)
	if shares, does := any(&c).(interface{ unshare() }); does {
		shares.unshare()
	}
	return &c
}

func (p pool[T]) copies() map[int]any {
	all := make(map[int]any, len(p))
	for id, item := range p {
		all[id] = p.copyOf(item)
	}
	return all
}

// ids returns the ids of all objects, the oldest first.
func (p pool[T]) ids() []int {
	ids := slices.AppendSeq(make([]int, 0, len(p)), maps.Keys(p))
	slices.Sort(ids)
	return ids
}

func (c *cloud) userNamed(name string) *user {
	for _, u := range c.users {
		if u.Name == name {
			return u
		}
	}
	return nil
}

// oneadmin returns the identity for the zone's own actions.
func (c *cloud) oneadmin() identity {
	u := c.users[0]
	return identity{user: u, gid: u.GID, groups: u.Groups}
}

func (c *cloud) groupName(gid int) string {
	if g := c.groups[gid]; g != nil {
		return g.Name
	}
	return ""
}

// owned returns the head of a new object, owned by its creator.
func (c *cloud) owned(id int, name string, who identity) object {
	return object{
		ID: id, UID: who.user.ID, GID: who.gid, UName: who.user.Name, GName: c.groupName(who.gid),
		Name: name, Permissions: ownerOnly,
	}
}

// chown gives an object another owner or group; -1 leaves each unchanged.
func (c *cloud) chown(who identity, o *object, uid, gid int) {
	switch {
	case uid >= 0 && c.users[uid] == nil:
		notFound("user", uid)
	case uid >= 0 && !who.isAdmin() && uid != who.user.ID:
		who.notAuthorized("MANAGE USER [" + itoa(uid) + "]")
	case gid >= 0 && c.groups[gid] == nil:
		notFound("group", gid)
	case gid >= 0 && !who.isAdmin() && !who.inGroup(gid):
		who.notAuthorized("USE GROUP [" + itoa(gid) + "]")
	}
	if uid >= 0 {
		o.UID, o.UName = uid, c.users[uid].Name
	}
	if gid >= 0 {
		o.GID, o.GName = gid, c.groupName(gid)
	}
}

// rebuild derives the state that is not stored: the holders of addresses and the used capacity.
func (c *cloud) rebuild() {
	for _, id := range c.networks.ids() {
		n := c.networks[id]
		if parent := c.networks[n.Parent]; parent != nil {
			for _, block := range n.Ranges {
				for offset := range block.Size {
					parent.hold(block.IP+uint32(offset), holder{holderVNet, id})
				}
			}
		}
	}
	for _, id := range c.vrouters.ids() {
		for _, nic := range c.vrouters[id].Template.Vectors("NIC") {
			for n, ip := range c.addresses(nic, "VROUTER_IP") {
				n.hold(ip, holder{holderVRouter, id})
			}
		}
	}
	for _, id := range c.vms.ids() {
		v := c.vms[id]
		if v.State == one.VMDone {
			c.done = append(c.done, id)
			continue
		}
		for _, nic := range v.Template.Vectors("NIC") {
			for n, ip := range c.addresses(nic, "IP") {
				n.hold(ip, holder{holderVM, id})
			}
		}
		if v.Host >= 0 && v.Host < len(c.hosts.all) {
			c.hosts.all[v.Host].reserve(v)
			c.hosts.next = (v.Host + 1) % len(c.hosts.all)
		}
	}
}

// The ids that a new zone begins with.
const (
	serverAdminID = 1
	usersGroup    = 1
)

// seed fills a new zone: the users and groups, network 0 "private", VM template 0 "alpine" and the templates of virtual
// routers and networks.
func seed(t *tx, config Config) {
	c := t.cloud
	for _, g := range []*group{{0, "oneadmin"}, {usersGroup, "users"}} {
		t.save(kindGroup, g.ID, g)
	}
	for _, u := range []*user{
		newUser(0, 0, "oneadmin", "opennebula", driverCore),
		newUser(serverAdminID, 0, "serveradmin", config.ServerPassword, driverServer),
		newUser(2, usersGroup, "alice", "alice", driverCore),
	} {
		t.save(kindUser, u.ID, u)
	}
	private := &network{
		object: asOneadmin(0, "private"), State: one.NetworkReady, PrevState: one.NetworkReady, Parent: -1, FromID: -1,
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

// asOneadmin returns an object of oneadmin's that everybody may use.
func asOneadmin(id int, name string) object {
	return object{ID: id, UName: "oneadmin", GName: "oneadmin", Name: name, Permissions: readableByAll}
}

// Population is a number of services that have been running for a while, for
// tests of size: deploying them one by one would take hours.
type Population struct {
	Services int `json:"services"`
	Roles    int `json:"roles"` // how many roles a service has, each the parent of the next
	VMs      int `json:"vms"`   // how many VMs a role has
}

// populationStep is how many services are made under one hold of the lock.
const populationStep = 50

// Populate adds services of oneadmin's whose VMs run, as if they had existed before anybody listened: no event reports
// them.
func (s *Sim) Populate(p Population) error {
	if p.Services < 0 || p.Roles < 1 || p.VMs < 0 {
		return errors.New("populate the zone: there must be at least one role, and no negative number")
	}
	for first := 0; first < p.Services; first += populationStep {
		var refused *refusal
		wait := s.db.update(func(t *tx) {
			refused = attempt(func() {
				for range min(populationStep, p.Services-first) {
					populateService(t, p)
				}
			})
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
func populateService(t *tx, p Population) {
	who := t.cloud.oneadmin()
	id := t.nextID(kindDocument)
	name := "service-" + itoa(id)
	var roles []any
	for n := range p.Roles {
		role := "role" + itoa(n)
		nodes := []any{}
		for i := range p.VMs {
			v := populateVM(t, who, id, role, i)
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
	text, _ := json.Marshal(map[string]any{
		"name": name, "deployment": "straight", "roles": roles, "state": 2, "start_time": now(),
	}) // numbers and texts
	documents.save(t, &document{object: t.cloud.owned(id, name, who), Type: 100, Template: template.Of("BODY", string(text))})
}

// populateVM adds a VM of a service's role that runs.
func populateVM(t *tx, who identity, service int, role string, number int) *vm {
	name := fmt.Sprintf("%s_%d_(service_%d)", role, number, service)
	v := t.makeVM(who, order{from: t.cloud.templates[0], name: name, extra: template.Of(
		"SERVICE_ID", itoa(service), "ROLE_NAME", role, "FLOWJET_KEY", fmt.Sprintf("%d-%s-%d-%d", service, role, number, now()),
	)})
	h := t.cloud.hosts.pick(v)
	refuseIf(h == nil, opennebula.CodeInternal, "the hosts are full")
	h.reserve(v)
	v.History = append(v.History, newHistory(0, h))
	for _, step := range []status{active(one.LCMProlog), active(one.LCMBoot), running} {
		v.State, v.LCM, v.PrevState, v.PrevLCM = step.state, step.lcm, step.state, step.lcm
		t.recordStay(v, step)
	}
	vms.save(t, v)
	return v
}
