package sim

import (
	"fmt"
	"slices"

	"github.com/flowjet/flowjet/opennebula"
)

// right is what a call needs on an object.
type right int

const (
	use right = iota
	manage
	admin
)

var rightNames = [...]string{"USE", "MANAGE", "ADMIN"}

func (r right) String() string { return rightNames[r] }

// identity is who a call acts for: a user, with the groups that count for
// this call (a scoped token narrows them to one).
type identity struct {
	user   *user
	gid    int
	groups []int
}

func (i identity) inGroup(gid int) bool { return slices.Contains(i.groups, gid) }

// isAdmin reports whether nothing is forbidden: oneadmin and its group.
func (i identity) isAdmin() bool { return i.user.ID == 0 || i.inGroup(0) }

// may reports whether the object's permission bits let the identity do it.
func (i identity) may(r right, o *object) bool {
	if i.isAdmin() {
		return true
	}
	bit := func(class int) bool { return o.Permissions>>(8-class*3-int(r))&1 == 1 }
	return i.user.ID == o.UID && bit(0) || i.inGroup(o.GID) && bit(1) || bit(2)
}

// authorize is oned's refusal where the identity may not, else nil.
func (i identity) authorize(r right, kind string, o *object) *refusal {
	if i.may(r, o) {
		return nil
	}
	return i.notAuthorized(fmt.Sprintf("%s %s [%d]", r, kind, o.ID))
}

// notAuthorized is oned's text for a request such as "MANAGE DOCUMENT [3]".
func (i identity) notAuthorized(request string) *refusal {
	return refuse(opennebula.CodeAuthorization,
		fmt.Sprintf("User [%d] : Not authorized to perform %s.", i.user.ID, request))
}

// notFound is oned's text for a missing object, such as "document".
func notFound(what string, id int) *refusal {
	return &refusal{
		code: opennebula.CodeNoExists, object: id,
		message: fmt.Sprintf("Error getting %s [%d].", what, id),
	}
}

// The filters of pool calls; a number from 0 on is a user's id.
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
