package sim

import (
	"sort"

	"github.com/flowjet/flowjet/opennebula"
)

// cloud is everything that oned knows. Its owner's lock guards it.
type cloud struct {
	users       map[int]*user
	groups      map[int]*group
	documents   map[int]*document
	templates   map[int]*vmTemplate
	vms         map[int]*vm
	networks    map[int]*network
	vnTemplates map[int]*vnTemplate
	vrouters    map[int]*vrouter
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
		users: map[int]*user{}, groups: map[int]*group{}, documents: map[int]*document{},
		templates: map[int]*vmTemplate{}, vms: map[int]*vm{}, networks: map[int]*network{},
		vnTemplates: map[int]*vnTemplate{}, vrouters: map[int]*vrouter{}, next: map[string]int{},
	}
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
func (c *cloud) chown(who identity, o *object, kind string, uid, gid int) *refusal {
	if r := who.authorize(manage, kind, o); r != nil {
		return r
	}
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

// chmod changes an object's bits; whoever gives ADMIN away must have it.
func chmod(who identity, o *object, kind string, bits [9]int) *refusal {
	needed := manage
	if bits[2] == 1 || bits[5] == 1 || bits[8] == 1 {
		needed = admin
	}
	if r := who.authorize(needed, kind, o); r != nil {
		return r
	}
	o.Permissions = o.Permissions.changed(bits)
	return nil
}

// newestFirst are a pool's ids in the order in which oned lists them.
func newestFirst[T any](pool map[int]*T) []int {
	ids := oldestFirst(pool)
	for i, j := 0, len(ids)-1; i < j; i, j = i+1, j-1 {
		ids[i], ids[j] = ids[j], ids[i]
	}
	return ids
}

func oldestFirst[T any](pool map[int]*T) []int {
	ids := make([]int, 0, len(pool))
	for id := range pool {
		ids = append(ids, id)
	}
	sort.Ints(ids)
	return ids
}

// page cuts a listing as oned does: start and end are ids, -1 is open; an end
// under -1 makes start an offset and -end the number of objects wanted.
type page struct{ start, end int }

func (p page) cut(ids []int) []int {
	if p.end < -1 {
		from := min(max(p.start, 0), len(ids))
		return ids[from:min(from-p.end, len(ids))]
	}
	var kept []int
	for _, id := range ids {
		if id >= p.start && (p.end < 0 || id <= p.end) {
			kept = append(kept, id)
		}
	}
	return kept
}

// badTemplate is the refusal of a template that cannot be read.
func badTemplate(err error) *refusal {
	return refuse(opennebula.CodeInternal, err.Error())
}
