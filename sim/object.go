package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// object is what every pool object of oned has.
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
	// ownerOnly is what new objects get: oned's umask 177.
	ownerOnly permissions = 0o600
	// readableByAll lets every user use an object.
	readableByAll permissions = 0o644
)

var permissionNames = [9]string{
	"OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M", "OTHER_A",
}

func (o *object) base() *object { return o }

// head writes ID to NAME.
func (o *object) head(w *xmlrpc.Writer) {
	w.Fields("ID", o.ID, "UID", o.UID, "GID", o.GID, "UNAME", o.UName, "GNAME", o.GName, "NAME", o.Name)
}

// headAndPermissions writes ID to PERMISSIONS, with other fields in between.
func (o *object) headAndPermissions(w *xmlrpc.Writer, between ...any) {
	o.head(w)
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

// badName is oned's reason against a name, "" where it may be used.
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

// now is the time as oned stores it.
func now() int64 { return time.Now().Unix() }

// right is what a call needs on an object.
type right int

const (
	use right = iota
	manage
	admin
)

func (r right) String() string { return [...]string{"USE", "MANAGE", "ADMIN"}[r] }

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
