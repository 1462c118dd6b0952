package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/flowjet/flowjet/flow/one"
)

// cloud is everything that oned knows. Its owner's lock guards it.
type cloud struct {
	pools
	hosts *hosts
	// waiting are pending VMs that no host had room for.
	waiting []int
	// done are the ended VMs in the order of their ends.
	done []int
}

func newCloud(config Config) *cloud { return &cloud{pools: newPools(), hosts: newHosts(config)} }

// pools are the objects of oned's that are stored and replicated.
type pools struct {
	users       pool[user]
	groups      pool[group]
	documents   pool[document]
	templates   pool[storedTemplate]
	vms         pool[vm]
	networks    pool[network]
	vnTemplates pool[storedTemplate]
	vrouters    pool[vrouter]
	// byKind are the same pools.
	byKind map[string]records
	// next is the next id of each kind; it only grows.
	next map[string]int
}

// The kinds of records. Those of a VM's texts and of the next ids are of no pool.
const (
	kindUser       = "user"
	kindGroup      = "group"
	kindDocument   = "document"
	kindTemplate   = "template"
	kindVM         = "vm"
	kindVMTexts    = "vmtexts"
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

// pool is all objects of one kind by their ids.
type pool[T any] map[int]*T

// records is what the state file and the replicas do with a pool, whatever it holds.
type records interface {
	restore(id int, content []byte) error
	// put sets an object, or removes it where item is nil.
	put(id int, item any)
	// copyOf returns an object as it stands; nil stays nil.
	copyOf(item any) any
	// copies are copies of all objects by their ids.
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

func (p *pools) restoreRecord(kind string, id int, content []byte) error {
	all := p.byKind[kind]
	switch {
	case kind == kindNext:
		return json.Unmarshal(content, &p.next)
	case kind == kindVMTexts && p.vms[id] == nil:
		return errors.New("there is no such VM")
	case kind == kindVMTexts:
		return json.Unmarshal(content, &p.vms[id].vmTexts)
	case all == nil:
		return fmt.Errorf("unknown kind %q", kind)
	}
	if err := all.restore(id, content); err != nil || kind != kindVM {
		return err
	}
	// A VM's texts follow. State files of before have them in the same record,
	// out of which they move with the VM's next change.
	texts := &p.vms[id].vmTexts
	err := json.Unmarshal(content, texts)
	texts.unsaved = texts.Template != nil
	return err
}

func (c *cloud) userNamed(name string) *user {
	for _, u := range c.users {
		if u.Name == name {
			return u
		}
	}
	return nil
}

// oneadmin carries out what the zone does by itself.
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

// owned is a new object's head: owned by who creates it.
func (c *cloud) owned(id int, name string, who identity) object {
	return object{
		ID: id, UID: who.user.ID, GID: who.gid, UName: who.user.Name, GName: c.groupName(who.gid),
		Name: name, Permissions: ownerOnly,
	}
}

// chown gives an object another owner or group; -1 leaves either.
func (c *cloud) chown(who identity, o *object, uid, gid int) *refusal {
	switch {
	case uid >= 0 && c.users[uid] == nil:
		return notFound("user", uid)
	case uid >= 0 && !who.isAdmin() && uid != who.user.ID:
		return who.notAuthorized("MANAGE USER [" + itoa(uid) + "]")
	case gid >= 0 && c.groups[gid] == nil:
		return notFound("group", gid)
	case gid >= 0 && !who.isAdmin() && !who.inGroup(gid):
		return who.notAuthorized("USE GROUP [" + itoa(gid) + "]")
	}
	if uid >= 0 {
		o.UID, o.UName = uid, c.users[uid].Name
	}
	if gid >= 0 {
		o.GID, o.GName = gid, c.groupName(gid)
	}
	return nil
}

// rebuild finds out what is not stored: who holds which address and whose capacity is taken.
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
			c.hosts.all[v.Host].take(v)
			c.hosts.next = (v.Host + 1) % len(c.hosts.all)
		}
	}
}
