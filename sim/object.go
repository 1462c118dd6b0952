package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// object has the fields of every pool object of oned.
type object struct {
	ID          int         `json:"id"`
	UID         int         `json:"uid"`
	GID         int         `json:"gid"`
	UName       string      `json:"uname"`
	GName       string      `json:"gname"`
	Name        string      `json:"name"`
	Permissions permissions `json:"permissions"`
}

// permissions are nine bits, owner group other by USE MANAGE ADMIN: 0o640.
type permissions uint16

const (
	ownerOnly     permissions = 0o600 // of new objects: oned's umask 177
	readableByAll permissions = 0o644 // lets every user use an object
)

var permissionNames = [9]string{"OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M", "OTHER_A"}

func (o *object) base() *object { return o }

// headAndPermissions writes ID to PERMISSIONS, with other fields in between.
func (o *object) headAndPermissions(w *xmlrpc.Writer, between ...any) {
	w.Fields("ID", o.ID, "UID", o.UID, "GID", o.GID, "UNAME", o.UName, "GNAME", o.GName, "NAME", o.Name)
	w.Fields(between...)
	w.Open("PERMISSIONS")
	for i, name := range permissionNames {
		w.Fields(name, int(o.Permissions>>(8-i))&1)
	}
	w.Shut("PERMISSIONS")
}

// maxName and forbiddenInName bound an object's name.
const (
	maxName         = 128
	forbiddenInName = "&|:\\\";/'#{}$<>\t\n\v\f\r"
)

// badName returns oned's reason for refusing a name, "" if it is allowed.
func badName(name string) string {
	if name == "" {
		return "Invalid NAME, it cannot be empty"
	}
	if i := strings.IndexAny(name, forbiddenInName); i >= 0 {
		return "Invalid NAME, char '" + name[i:i+1] + "' is not allowed"
	}
	if len(name) > maxName {
		return "Invalid NAME, max length is 128 chars"
	}
	return ""
}

// now returns the time as oned stores it.
func now() int64 { return time.Now().Unix() }

// right is the right that a call needs on an object.
type right int

const (
	use right = iota
	manage
	admin
)

func (r right) String() string { return [...]string{"USE", "MANAGE", "ADMIN"}[r] }

// identity is the user for whom a call acts, with the groups that count for this call (a scoped token narrows them to one).
type identity struct {
	user   *user
	gid    int
	groups []int
}

func (i identity) inGroup(gid int) bool { return slices.Contains(i.groups, gid) }

// isAdmin reports whether everything is allowed: for oneadmin and its group.
func (i identity) isAdmin() bool { return i.user.ID == 0 || i.inGroup(0) }

// may reports whether the object's permission bits grant the right to the identity.
func (i identity) may(r right, o *object) bool {
	if i.isAdmin() {
		return true
	}
	bit := func(class int) bool { return o.Permissions>>(8-class*3-int(r))&1 == 1 }
	return i.user.ID == o.UID && bit(0) || i.inGroup(o.GID) && bit(1) || bit(2)
}

// authorize refuses a call if the identity lacks the right.
func (i identity) authorize(r right, kind string, o *object) {
	if !i.may(r, o) {
		i.notAuthorized(fmt.Sprintf("%s %s [%d]", r, kind, o.ID))
	}
}

// notAuthorized refuses a request such as "MANAGE DOCUMENT [3]".
func (i identity) notAuthorized(request string) {
	refuse(opennebula.CodeAuthorization, fmt.Sprintf("User [%d] : Not authorized to perform %s.", i.user.ID, request))
}

// adminOnly refuses a request to everyone but oneadmin and its group.
func (i identity) adminOnly(request string) {
	if !i.isAdmin() {
		i.notAuthorized(request)
	}
}

// The filters of pool calls; a number of 0 or more is a user's id.
const (
	filterMineAndGroups = -1
	filterMine          = -3
	filterPrimaryGroup  = -4
)

// listed reports whether a pool call with the filter shows the object.
func (i identity) listed(filter int, o *object) bool {
	switch {
	case filter == opennebula.FilterAll:
	case filter == filterMine && o.UID != i.user.ID,
		filter == filterMineAndGroups && o.UID != i.user.ID && !i.inGroup(o.GID),
		filter == filterPrimaryGroup && o.GID != i.gid,
		filter >= 0 && o.UID != filter:
		return false
	}
	return i.may(use, o)
}

// class has the common parts of oned's calls about one kind of object.
type class[T any, P pooled[T]] struct {
	kind string
	// words and label are the kind's names in oned's refusals, such as "virtual machine" and VM; element is the element of
	// an object.
	words, label, element string
}

func (c *class[T, P]) pool(of *cloud) pool[T] { return of.byKind[c.kind].(pool[T]) }

// pooled is an object with an owner, a name and permissions.
type pooled[T any] interface {
	*T
	base() *object
	// show writes the content of the object's element, as its info call does.
	show(w *xmlrpc.Writer)
}

// find returns the object with the id, on which the caller needs a right.
func (c *class[T, P]) find(r *request, id int, needed right) P {
	found := P(c.pool(r.cloud)[id])
	if found == nil || r.lost(c.kind, id) {
		notFound(c.words, id)
	}
	r.who.authorize(needed, c.label, found.base())
	if d, is := any(found).(*document); is {
		d.checkLock(r.who, needed)
	}
	return found
}

// on returns the call about the object of parameter 1, on which it needs a right.
func (c *class[T, P]) on(needed right, do func(r *request, item P) any) func(r *request) any {
	return func(r *request) any { return do(r, c.find(r, r.int(1), needed)) }
}

// change returns the call that changes the object of parameter 1.
func (c *class[T, P]) change(needed right, change func(r *request, item P)) func(r *request) any {
	return c.on(needed, func(r *request, item P) any {
		change(r, item)
		return c.save(r.tx, item)
	})
}

func (c *class[T, P]) info() func(r *request) any {
	return c.on(use, func(_ *request, item P) any { return xmlrpc.Text(c.element, item.show) })
}

// list is the pool's call info(filter, start, end). A page also counts objects that the caller may not see.
func (c *class[T, P]) list(r *request) any {
	page := c.page(r, func(P) bool { return true })
	return c.listed(slices.DeleteFunc(page, func(item P) bool { return !r.who.listed(r.int(1), item.base()) }))
}

func (c *class[T, P]) listed(items []P) any {
	return xmlrpc.Text(c.element+"_POOL", func(w *xmlrpc.Writer) {
		for _, item := range items {
			w.Within(c.element, item.show)
		}
	})
}

// page returns those objects of a page that fit, the newest first. Parameters 2 and 3 are the first and the last id, -1 is
// open; an end below -1 makes start an offset and -end the number of objects. Ids are dense, so counting down is cheaper
// than sorting thousands of them.
func (c *class[T, P]) page(r *request, fits func(item P) bool) (found []P) {
	start, end := max(r.intOr(2, -1), 0), r.intOr(3, -1)
	all, first, last := c.pool(r.cloud), start, r.cloud.next[c.kind]-1
	if end < -1 {
		first = 0
	} else if end >= 0 {
		last = min(last, end)
	}
	for id := last; id >= first; id-- {
		if item := P(all[id]); item != nil && fits(item) && !r.lost(c.kind, id) {
			found = append(found, item)
		}
	}
	if end < -1 {
		found = found[min(start, len(found)):]
		found = found[:min(-end, len(found))]
	}
	return found
}

// allocate answers the call allocate(template): prefix and the id name an object whose template has no name.
func (c *class[T, P]) allocate(r *request, prefix string, parsed template.Template, build func(object, template.Template) P) any {
	id := r.tx.nextID(c.kind)
	return c.made(r, build(r.cloud.owned(id, cmp.Or(parsed.Text("NAME"), prefix+itoa(id)), r.who), parsed.Without("NAME")))
}

// made adds a new object, which the call's event shows.
func (c *class[T, P]) made(r *request, item P) any {
	r.extra = xmlrpc.Text(c.element, item.show)
	return c.save(r.tx, item)
}

// chmod returns the call chmod(id, nine bits); granting ADMIN needs ADMIN.
func (c *class[T, P]) chmod() func(r *request) any {
	return c.change(manage, func(r *request, item P) {
		changed, needed := item.base().Permissions, manage
		for i := range 9 {
			mask := permissions(1) << (8 - i)
			switch r.intOr(i+2, -1) {
			case 1:
				changed |= mask
				if i%3 == 2 {
					needed = admin
				}
			case 0:
				changed &^= mask
			}
		}
		r.who.authorize(needed, c.label, item.base())
		item.base().Permissions = changed
	})
}

// chown returns the call chown(id, uid, gid); -1 leaves each unchanged.
func (c *class[T, P]) chown() func(r *request) any {
	return c.change(manage, func(r *request, item P) { r.cloud.chown(r.who, item.base(), r.int(2), r.int(3)) })
}

func (c *class[T, P]) rename() func(r *request) any {
	return c.change(manage, func(r *request, item P) {
		refuseFor(opennebula.CodeAction, badName(r.text(2)))
		item.base().Name = r.text(2)
	})
}

func (c *class[T, P]) delete() func(r *request) any {
	return c.on(manage, func(r *request, item P) any { return c.remove(r, item) })
}

// newName returns oned's reason for refusing the name of a new object of the caller's, who has each name once; "" if there
// is none.
func (c *class[T, P]) newName(r *request, name string) (reason string) {
	if reason := badName(name); reason != "" {
		return reason
	}
	for id, item := range c.pool(r.cloud) {
		if other := P(item).base(); other.Name == name && other.UID == r.who.user.ID {
			return "NAME is already taken by " + c.label + " " + itoa(id) + "."
		}
	}
	return ""
}

// save adds an object to its pool, or marks an existing one as changed, and returns its id.
func (c *class[T, P]) save(t *tx, item P) (id int) {
	id = item.base().ID
	t.save(c.kind, id, item)
	return id
}

// remove removes an object, which the call's event shows, from its pool.
func (c *class[T, P]) remove(r *request, item P) (id int) {
	id = item.base().ID
	r.extra = xmlrpc.Text(c.element, item.show)
	r.tx.save(c.kind, id, nil)
	return id
}
