package sim

import (
	"github.com/flowjet/flowjet/opennebula"
)

// cloud is everything that oned knows. Its owner's lock guards it.
type cloud struct {
	users       pool[user]
	groups      pool[group]
	documents   pool[document]
	templates   pool[vmTemplate]
	vms         pool[vm]
	networks    pool[network]
	vnTemplates pool[vnTemplate]
	vrouters    pool[vrouter]
	hosts       []*host
	// next is the next id of each kind; it only grows.
	next map[string]int

	nextHost int
	// waiting are pending VMs that no host had room for.
	waiting []int
	// done are the ended VMs in the order of their ends.
	done []int
}

func newCloud(config Config) *cloud {
	c := emptyCloud()
	for i, name := range []string{"host1", "host2", "host3", "host4"} {
		c.hosts = append(c.hosts, newHost(i, name, config))
	}
	return c
}

func emptyCloud() *cloud {
	return &cloud{
		users: pool[user]{}, groups: pool[group]{}, documents: pool[document]{},
		templates: pool[vmTemplate]{}, vms: pool[vm]{}, networks: pool[network]{},
		vnTemplates: pool[vnTemplate]{}, vrouters: pool[vrouter]{}, next: map[string]int{},
	}
}

// pool returns the pool of the records of a kind; nil for what is none of a pool.
func (c *cloud) pool(kind string) records {
	switch kind {
	case kindUser:
		return c.users
	case kindGroup:
		return c.groups
	case kindDocument:
		return c.documents
	case kindTemplate:
		return c.templates
	case kindVM:
		return c.vms
	case kindNetwork:
		return c.networks
	case kindVNTemplate:
		return c.vnTemplates
	case kindVRouter:
		return c.vrouters
	}
	return nil
}

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
