package opennebula

import (
	"context"
	"strings"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// User is a user of OpenNebula.
type User struct {
	Identity flow.Identity
	// Groups are the ids of all groups that the user is in.
	Groups []int
	// EffectiveGID is the group in which this session's calls act: the scoped
	// login token's (LOGIN_TOKEN/EGID), else the primary group.
	EffectiveGID int
	// Scoped reports whether the session acts in that group alone.
	Scoped  bool
	Enabled bool
	// server reports whether it is a server user, which acts for others.
	server bool
}

// userObject is what is read of a user's XML.
type userObject struct {
	User
	// driver is the authentication driver, and password the hash of a password
	// that oned itself checks.
	driver, password string
	// tokens are the login tokens, with the groups that they are for.
	tokens map[string]int
}

func readUser(r *onexml.Reader) userObject {
	u := userObject{User: User{Enabled: true}, tokens: map[string]int{}}
	r.Each(func(name []byte) {
		switch string(name) {
		case "ID":
			u.Identity.UID = r.Int()
		case "GID":
			u.Identity.GID = r.Int()
		case "GROUPS":
			r.At(func() { u.Groups = append(u.Groups, r.Int()) }, "ID")
		case "GNAME":
			u.Identity.GName = r.String()
		case "NAME":
			u.Identity.UName = r.String()
		case "AUTH_DRIVER":
			u.driver = r.String()
			u.server = strings.HasPrefix(u.driver, "server")
		case "ENABLED":
			u.Enabled = r.String() != "0"
		case "PASSWORD":
			u.password = r.String()
		case "LOGIN_TOKEN":
			token, group := "", 0
			r.Each(func(name []byte) {
				switch string(name) {
				case "TOKEN":
					token = r.String()
				case "EGID":
					group = r.Int()
				}
			})
			u.tokens[token] = group
		}
	})
	return u
}

// User asks for a user by id; -1 is the session's own (one.user.info).
func (s *Session) User(ctx context.Context, id int) (User, error) {
	found, err := object(ctx, s, readUser, methodUserInfo, id, false)
	if err != nil {
		return User{}, err
	}
	return s.user(found), nil
}

// user returns a user with the group in which the session acts.
func (s *Session) user(found userObject) User {
	found.EffectiveGID, found.Scoped = s.effectiveGroup(found)
	return found.User
}

// effectiveGroup is the group in which the session acts, and whether it is the only one.
func (s *Session) effectiveGroup(user userObject) (group int, scoped bool) {
	if s.group >= 0 {
		return s.group, true
	}
	if scope, is := user.tokens[s.secret]; is && s.secret != "" && scope >= 0 {
		return scope, true
	}
	return user.Identity.GID, false
}
