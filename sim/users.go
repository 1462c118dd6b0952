package sim

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// The simulated authentication drivers.
const (
	driverCore   = "core"
	driverServer = "server_cipher"
)

// user is a user of the zone. Passwords are hashed, as in oned.
type user struct {
	ID           int               `json:"id"`
	GID          int               `json:"gid"`
	Groups       []int             `json:"groups"`
	Name         string            `json:"name"`
	PasswordHash string            `json:"password_hash"`
	Driver       string            `json:"driver"`
	Disabled     bool              `json:"disabled,omitempty"`
	Tokens       []loginToken      `json:"tokens,omitempty"`
	Template     template.Template `json:"template"`
}

// loginToken is a token of one.user.login; GID -1 is not scoped to a group.
type loginToken struct {
	Token   string `json:"token"`
	Expires int64  `json:"expires"`
	GID     int    `json:"gid"`
}

type group struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// hashPassword returns oned's hash of a password, hex of its SHA-256.
func hashPassword(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

func newUser(id, gid int, name, password, driver string) *user {
	hash := hashPassword(password)
	u := &user{ID: id, GID: gid, Groups: []int{gid}, Name: name, PasswordHash: hash, Driver: driver}
	if driver == driverCore {
		u.Template = template.Of("TOKEN_PASSWORD", hashPassword(randomHex(32)))
	}
	return u
}

func randomHex(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	return hex.EncodeToString(raw)
}

// alive reports whether a token has not expired.
func (t loginToken) alive() bool { return t.Expires == -1 || t.Expires > time.Now().Unix() }

// unshare gives a copy its own groups and tokens.
func (u *user) unshare() { u.Groups, u.Tokens = slices.Clone(u.Groups), slices.Clone(u.Tokens) }

func (u *user) write(w *xmlrpc.Writer, c *cloud) {
	w.Fields("ID", u.ID, "GID", u.GID, "GROUPS", u.Groups, "GNAME", c.groupName(u.GID), "NAME", u.Name,
		"PASSWORD", cdata(u.PasswordHash), "AUTH_DRIVER", cdata(u.Driver), "ENABLED", !u.Disabled)
	for _, t := range u.Tokens {
		w.Group("LOGIN_TOKEN", "TOKEN", t.Token, "EXPIRATION_TIME", t.Expires, "EGID", t.GID)
	}
	u.Template.Write(w, "TEMPLATE")
}

// quotaElements are the empty quota elements after a user.
const quotaElements = "<DATASTORE_QUOTA></DATASTORE_QUOTA><NETWORK_QUOTA></NETWORK_QUOTA>" +
	"<VM_QUOTA></VM_QUOTA><IMAGE_QUOTA></IMAGE_QUOTA>"

const defaultQuotas = "<DEFAULT_USER_QUOTAS>" + quotaElements + "</DEFAULT_USER_QUOTAS>"

// userFor returns the user of parameter 1; -1 is the caller. Other users are for oneadmin only.
func userFor(r *request) *user {
	id := r.int(1)
	if id == -1 || id == r.who.user.ID {
		return r.who.user
	}
	return managedUser(r)
}

// managedUser returns the user of parameter 1 to oneadmin and its group.
func managedUser(r *request) *user {
	found := r.cloud.users[r.int(1)]
	if found == nil {
		notFound("user", r.int(1))
	}
	r.who.adminOnly(fmt.Sprintf("MANAGE USER [%d]", found.ID))
	return found
}

func userInfo(r *request) any {
	found := userFor(r)
	return xmlrpc.Text("USER", func(w *xmlrpc.Writer) {
		found.write(w, r.cloud)
		w.WriteString(quotaElements + defaultQuotas)
	})
}

func userPoolInfo(r *request) any {
	return xmlrpc.Text("USER_POOL", func(w *xmlrpc.Writer) {
		for _, id := range r.cloud.users.ids() {
			if r.who.isAdmin() || id == r.who.user.ID {
				w.Open("USER")
				r.cloud.users[id].write(w, r.cloud)
				w.Shut("USER")
				w.Open("QUOTAS")
				w.Fields("ID", id)
				w.WriteString(quotaElements)
				w.Shut("QUOTAS")
			}
		}
		w.WriteString(defaultQuotas)
	})
}

// groupPoolInfo lists the user's groups, and all of them for administrators.
func groupPoolInfo(r *request) any {
	return xmlrpc.Text("GROUP_POOL", func(w *xmlrpc.Writer) {
		for _, id := range r.cloud.groups.ids() {
			if r.who.isAdmin() || r.who.inGroup(id) {
				w.Group("GROUP", "ID", id, "NAME", r.cloud.groups[id].Name)
			}
		}
		w.WriteString(defaultQuotas)
	})
}

func (r *request) keepUser(u *user) (id int) {
	r.tx.save(kindUser, u.ID, u)
	return u.ID
}

// userAllocate is one.user.allocate(name, password, driver). The optional fourth parameter, an array of groups, is not simulated.
func userAllocate(r *request) any {
	r.who.adminOnly("CREATE USER")
	notAllocated := func(condition bool, reason string) {
		refuseIf(condition, opennebula.CodeAllocate, "Error allocating a new user. "+reason)
	}
	name, password, driver := r.text(1), r.text(2), cmp.Or(r.text(3), driverCore)
	notAllocated(name == "" || password == "" || driver != driverCore && driver != driverServer,
		"It needs a name, a password and the driver core or server_cipher.")
	const blanks = " \t\n\v\f\r"
	notAllocated(strings.ContainsAny(name, blanks+":") || strings.ContainsAny(password, blanks),
		"Its name or password has a character that is not allowed.")
	if taken := r.cloud.userNamed(name); taken != nil {
		notAllocated(true, fmt.Sprintf("NAME is already taken by USER %d.", taken.ID))
	}
	made := newUser(r.tx.nextID(kindUser), usersGroup, name, password, driver)
	r.extra = xmlrpc.Text("USER", func(w *xmlrpc.Writer) { made.write(w, r.cloud) })
	return r.keepUser(made)
}

func userPassword(r *request) any {
	found := userFor(r)
	refuseIf(r.text(2) == "", opennebula.CodeInternal, "Invalid password, it cannot be empty")
	found.PasswordHash = hashPassword(r.text(2))
	r.endSessions(found)
	return r.keepUser(found)
}

// endSessions has every server forget the session of a user that it remembers.
func (r *request) endSessions(u *user) {
	for _, one := range r.server.zone.servers {
		one.sessions.cached.Delete(u.ID)
	}
}

// userDelete is one.user.delete(id), for oneadmin only. What the user has stays, with the user's id and name.
func userDelete(r *request) any {
	found := managedUser(r)
	refuseIf(found.ID == 0, opennebula.CodeAction, "Cannot delete user. oneadmin cannot be deleted.")
	r.extra = xmlrpc.Text("USER", func(w *xmlrpc.Writer) { found.write(w, r.cloud) })
	r.endSessions(found)
	r.tx.save(kindUser, found.ID, nil)
	return found.ID
}

// userEnable is one.user.enable(id, enabled), for oneadmin only. A server user may still act for a user who is disabled.
func userEnable(r *request) any {
	found := managedUser(r)
	refuseIf(found.ID == 0, opennebula.CodeAction, "Cannot enable/disable oneadmin user")
	found.Disabled = r.int(2) == 0
	return r.keepUser(found)
}

// groupChange returns chgrp, addgroup and delgroup, for oneadmin only.
func groupChange(change func(u *user, gid int)) func(r *request) any {
	return func(r *request) any {
		found := managedUser(r)
		if r.cloud.groups[r.int(2)] == nil {
			notFound("group", r.int(2))
		}
		change(found, r.int(2))
		return r.keepUser(found)
	}
}

func changeGroup(u *user, gid int) {
	if len(u.Groups) == 1 {
		u.Groups = nil
	}
	u.GID = gid
	addGroup(u, gid)
}

func addGroup(u *user, gid int) {
	if !slices.Contains(u.Groups, gid) {
		u.Groups = append(u.Groups, gid)
		slices.Sort(u.Groups)
	}
}

func removeGroup(u *user, gid int) {
	refuseIf(!slices.Contains(u.Groups, gid), opennebula.CodeAction, "User is not part of this group")
	refuseIf(u.GID == gid, opennebula.CodeAction, "Cannot remove user from the primary group")
	u.Groups = slices.DeleteFunc(u.Groups, func(one int) bool { return one == gid })
}

// maxTokens bounds the login tokens of a user.
const maxTokens = 10

// userLogin is one.user.login(name, token, seconds, gid): a new token, or the end of a token if seconds is 0; -1 seconds is
// for ever, gid -1 unscoped.
func userLogin(r *request) any {
	found := r.cloud.userNamed(r.text(1))
	refuseIf(found == nil, opennebula.CodeNoExists, "Error getting user "+r.text(1)+".")
	if found.ID != r.who.user.ID {
		r.who.adminOnly(fmt.Sprintf("MANAGE USER [%d]", found.ID))
	}
	token, seconds, gid := cmp.Or(r.text(2), randomHex(32)), r.int(3), r.intOr(4, -1)
	refuseIf(gid >= 0 && !(identity{user: found, groups: found.Groups}).inGroup(gid), opennebula.CodeXMLRPC, "EGID is not in user group list")
	found.Tokens = slices.DeleteFunc(slices.Clone(found.Tokens), func(t loginToken) bool { return t.Token == token || !t.alive() })
	if seconds == 0 {
		r.keepUser(found)
		return ""
	}
	refuseIf(len(found.Tokens) >= maxTokens, opennebula.CodeInternal, "Max number of tokens limit reached.")
	expires := int64(-1)
	if seconds > 0 {
		expires = time.Now().Unix() + int64(seconds)
	}
	found.Tokens = append(found.Tokens, loginToken{Token: token, Expires: expires, GID: gid})
	r.keepUser(found)
	return token
}

func groupAllocate(r *request) any {
	r.who.adminOnly("CREATE GROUP")
	for _, g := range r.cloud.groups {
		refuseIf(g.Name == r.text(1), opennebula.CodeAllocate, fmt.Sprintf("Error allocating a new group. NAME is already taken by GROUP %d.", g.ID))
	}
	made := &group{ID: r.tx.nextID(kindGroup), Name: r.text(1)}
	r.tx.save(kindGroup, made.ID, made)
	return made.ID
}
