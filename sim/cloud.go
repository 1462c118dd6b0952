package sim

import (
	"github.com/flowjet/flowjet/opennebula"
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

func (c *cloud) userNamed(name string) *user {
	for _, u := range c.users {
		if u.Name == name {
			return u
		}
	}
	return nil
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
	if uid >= 0 {
		if c.users[uid] == nil {
			return notFound("user", uid)
		}
		if !who.isAdmin() && uid != who.user.ID {
			return who.notAuthorized("MANAGE USER [" + itoa(uid) + "]")
		}
	}
	if gid >= 0 {
		if c.groups[gid] == nil {
			return notFound("group", gid)
		}
		if !who.isAdmin() && !who.inGroup(gid) {
			return who.notAuthorized("USE GROUP [" + itoa(gid) + "]")
		}
	}
	if uid >= 0 {
		o.UID, o.UName = uid, c.users[uid].Name
	}
	if gid >= 0 {
		o.GID, o.GName = gid, c.groupName(gid)
	}
	return nil
}

// badTemplate is the refusal of a template that cannot be read.
func badTemplate(err error) *refusal {
	return refuse(opennebula.CodeInternal, err.Error())
}

// rebuild finds out what is not stored: who holds which address and whose
// capacity is taken.
func (c *cloud) rebuild() {
	for _, id := range c.networks.ids() {
		n := c.networks[id]
		if parent := c.networks[n.Parent]; parent != nil {
			for _, block := range n.Ranges {
				parent.holdBlock(block, holder{holderVNet, id})
			}
		}
	}
	for _, id := range c.vrouters.ids() {
		for _, nic := range c.vrouters[id].Template.vectors("NIC") {
			c.holdNIC(nic, holder{holderVRouter, id}, "VROUTER_IP")
		}
	}
	for _, id := range c.vms.ids() {
		v := c.vms[id]
		if v.State == vmDone {
			c.done = append(c.done, id)
			continue
		}
		for _, nic := range v.Template.vectors("NIC") {
			c.holdNIC(nic, holder{holderVM, id}, "IP")
		}
		if v.Host >= 0 && v.Host < len(c.hosts.all) {
			c.hosts.all[v.Host].take(v)
			c.hosts.next = (v.Host + 1) % len(c.hosts.all)
		}
	}
}
