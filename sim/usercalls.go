package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

// userFor finds the user of parameter 1; -1 is the caller. Others are for
// oneadmin only.
func userFor(r *request) (*user, *refusal) {
	id := r.int(1)
	if id == -1 || id == r.who.user.ID {
		return r.who.user, nil
	}
	found := r.cloud.users[id]
	if found == nil {
		return nil, notFound("user", id)
	}
	if !r.who.isAdmin() {
		return nil, r.who.notAuthorized(fmt.Sprintf("MANAGE USER [%d]", id))
	}
	return found, nil
}

func userInfo(r *request) answer {
	found, refused := userFor(r)
	if refused != nil {
		return refusedAnswer(refused)
	}
	return xmlAnswer(func(b *xmlWriter) {
		found.write(b, r.cloud.groupName(found.GID))
		markup(b, quotaElements+defaultQuotas)
		shut(b, "USER")
	})
}

func userPoolInfo(r *request) answer {
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "USER_POOL")
		for _, id := range r.cloud.users.ids() {
			u := r.cloud.users[id]
			if !r.who.isAdmin() && u.ID != r.who.user.ID {
				continue
			}
			u.write(b, r.cloud.groupName(u.GID))
			shut(b, "USER")
			open(b, "QUOTAS")
			number(b, "ID", u.ID)
			markup(b, quotaElements)
			shut(b, "QUOTAS")
		}
		markup(b, defaultQuotas)
		shut(b, "USER_POOL")
	})
}

// groupPoolInfo lists the groups that the user is in, all of them for administrators.
func groupPoolInfo(r *request) answer {
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "GROUP_POOL")
		for _, id := range r.cloud.groups.ids() {
			if r.who.isAdmin() || r.who.inGroup(id) {
				open(b, "GROUP")
				number(b, "ID", id)
				element(b, "NAME", r.cloud.groups[id].Name)
				shut(b, "GROUP")
			}
		}
		markup(b, defaultQuotas)
		shut(b, "GROUP_POOL")
	})
}

func (r *request) keepUser(u *user) {
	r.cloud.users[u.ID] = u
	r.tx.save(kindUser, u.ID, u)
}

// adminOnly refuses a call to everyone but oneadmin and its group.
func adminOnly(r *request, asked string) *refusal {
	if r.who.isAdmin() {
		return nil
	}
	return r.who.notAuthorized(asked)
}

// userAllocate is one.user.allocate(name, password, driver). The optional
// fourth parameter, an array of groups, is not simulated.
func userAllocate(r *request) answer {
	if refused := adminOnly(r, "CREATE USER"); refused != nil {
		return refusedAnswer(refused)
	}
	name, driver := r.text(1), r.text(3)
	if driver == "" {
		driver = driverCore
	}
	if name == "" || r.text(2) == "" || driver != driverCore && driver != driverServer {
		return refusedAnswer(refuse(opennebula.CodeAllocate,
			"Error allocating a new user. It needs a name, a password and the driver core or server_cipher."))
	}
	const blanks = " \t\n\v\f\r"
	if strings.ContainsAny(name, blanks+":") || strings.ContainsAny(r.text(2), blanks) {
		return refusedAnswer(refuse(opennebula.CodeAllocate, "Error allocating a new user. Its name or password has a character that is not allowed."))
	}
	if taken := r.cloud.userNamed(name); taken != nil {
		return refusedAnswer(refuse(opennebula.CodeAllocate,
			fmt.Sprintf("Error allocating a new user. NAME is already taken by USER %d.", taken.ID)))
	}
	made := newUser(r.tx.nextID(kindUser), usersGroup, name, r.text(2), driver)
	r.keepUser(made)
	r.extra = xmlText(func(b *xmlWriter) {
		made.write(b, r.cloud.groupName(made.GID))
		shut(b, "USER")
	})
	return idAnswer(made.ID)
}

func userDelete(r *request) answer {
	if refused := adminOnly(r, fmt.Sprintf("ADMIN USER [%d]", r.int(1))); refused != nil {
		return refusedAnswer(refused)
	}
	found := r.cloud.users[r.int(1)]
	if found == nil {
		return refusedAnswer(notFound("user", r.int(1)))
	}
	if found.ID <= serverAdminID {
		return refusedAnswer(refuse(opennebula.CodeAction, "oneadmin and serveradmin cannot be deleted."))
	}
	delete(r.cloud.users, found.ID)
	r.tx.remove(kindUser, found.ID)
	return idAnswer(found.ID)
}

// changeUser lets the change have the user and keeps the outcome.
func changeUser(r *request, found *user, refused *refusal, change func(u *user) *refusal) answer {
	if refused == nil {
		refused = change(found)
	}
	if refused != nil {
		return refusedAnswer(refused)
	}
	r.keepUser(found)
	return idAnswer(found.ID)
}

func userPassword(r *request) answer {
	found, refused := userFor(r)
	return changeUser(r, found, refused, func(u *user) *refusal {
		if r.text(2) == "" {
			return refuse(opennebula.CodeInternal, "Invalid password, it cannot be empty")
		}
		u.PasswordHash = hashPassword(r.text(2))
		for _, one := range r.server.zone.servers {
			one.sessions.forget(u.ID)
		}
		return nil
	})
}

func userUpdate(r *request) answer {
	found, refused := userFor(r)
	return changeUser(r, found, refused, func(u *user) *refusal {
		updated, refused := updatedTemplate(u.Template, r.text(2), r.int(3))
		if refused == nil {
			u.Template = updated
		}
		return refused
	})
}

// groupChange is chgrp, addgroup and delgroup: oneadmin's.
func groupChange(change func(u *user, gid int) *refusal) func(r *request) answer {
	return func(r *request) answer {
		refused := adminOnly(r, fmt.Sprintf("MANAGE USER [%d]", r.int(1)))
		found := r.cloud.users[r.int(1)]
		switch {
		case refused != nil:
		case found == nil:
			refused = notFound("user", r.int(1))
		case r.cloud.groups[r.int(2)] == nil:
			refused = notFound("group", r.int(2))
		}
		return changeUser(r, found, refused, func(u *user) *refusal { return change(u, r.int(2)) })
	}
}

func changeGroup(u *user, gid int) *refusal {
	if len(u.Groups) == 1 {
		u.leaves(u.GID)
	}
	u.GID = gid
	u.joins(gid)
	return nil
}

func addGroup(u *user, gid int) *refusal {
	u.joins(gid)
	return nil
}

func deleteGroup(u *user, gid int) *refusal {
	if gid == u.GID {
		return refuse(opennebula.CodeInternal, "Cannot remove user from the primary group.")
	}
	u.leaves(gid)
	return nil
}

// maxTokens bounds the login tokens of a user.
const maxTokens = 10

// userLogin is one.user.login(name, token, seconds, gid): a new token, or the
// end of one where seconds is 0; -1 seconds is for ever, gid -1 unscoped.
func userLogin(r *request) answer {
	found := r.cloud.userNamed(r.text(1))
	if found == nil {
		return refusedAnswer(refuse(opennebula.CodeNoExists, "Error getting user "+r.text(1)+"."))
	}
	if found.ID != r.who.user.ID && !r.who.isAdmin() {
		return refusedAnswer(r.who.notAuthorized(fmt.Sprintf("MANAGE USER [%d]", found.ID)))
	}
	token, seconds, gid := r.text(2), r.int(3), r.intOr(4, -1)
	if gid >= 0 && !(identity{user: found, groups: found.Groups}).inGroup(gid) {
		return refusedAnswer(refuse(opennebula.CodeXMLRPC, "EGID is not in user group list"))
	}
	if token == "" {
		token = randomHex(32)
	}
	found.dropToken(token)
	if seconds == 0 {
		r.keepUser(found)
		return textAnswer("")
	}
	if len(found.Tokens) >= maxTokens {
		return refusedAnswer(refuse(opennebula.CodeInternal, "Max number of tokens limit reached."))
	}
	expires := int64(-1)
	if seconds > 0 {
		expires = time.Now().Unix() + int64(seconds)
	}
	found.Tokens = append(found.Tokens, loginToken{Token: token, Expires: expires, GID: gid})
	r.keepUser(found)
	return textAnswer(token)
}

// dropToken forgets a token and those that have expired.
func (u *user) dropToken(token string) {
	var kept []loginToken
	for _, t := range u.Tokens {
		if t.Token != token && (t.Expires == -1 || t.Expires > time.Now().Unix()) {
			kept = append(kept, t)
		}
	}
	u.Tokens = kept
}

func groupAllocate(r *request) answer {
	if refused := adminOnly(r, "CREATE GROUP"); refused != nil {
		return refusedAnswer(refused)
	}
	for _, g := range r.cloud.groups {
		if g.Name == r.text(1) {
			return refusedAnswer(refuse(opennebula.CodeAllocate,
				fmt.Sprintf("Error allocating a new group. NAME is already taken by GROUP %d.", g.ID)))
		}
	}
	made := &group{ID: r.tx.nextID(kindGroup), Name: r.text(1)}
	r.cloud.groups[made.ID] = made
	r.tx.save(kindGroup, made.ID, made)
	return idAnswer(made.ID)
}
