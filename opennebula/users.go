package opennebula

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// User is a user of OpenNebula.
type User struct {
	Identity one.Identity
	// Groups are the ids of all groups that the user is in.
	Groups []int
	// EffectiveGID is the group in which this session's calls act: the scoped
	// login token's (LOGIN_TOKEN/EGID), else the primary group.
	EffectiveGID int
	// Scoped reports whether the session acts in that group alone.
	Scoped  bool
	Enabled bool
	// driver is the authentication driver; that of a server user, which acts for others, begins with server.
	driver string
	// password is the hash of a password that oned itself checks, tokens are the
	// login tokens.
	password string
	tokens   []loginToken
}

// loginToken is a token of one.user.login; Ends is in seconds since 1970, -1 for never.
type loginToken struct {
	Token string
	Ends  int
	EGID  int
}

// Proof returns a digest of the secret with which the user has logged in: it
// is valid as long as oned has that password or token.
func (u User) Proof(secret string) string {
	if slices.ContainsFunc(u.tokens, func(token loginToken) bool { return token.Token == secret }) {
		return proof("token", secret)
	}
	return proof("password", u.password)
}

// Holds reports whether a digest of Proof still matches the user's password, or a
// login token that has not ended, and the user is still in the session's group. oned
// keeps no passwords of users of other authentication drivers, such as LDAP: theirs
// match until the user is disabled.
func (u User) Holds(digest string, now time.Time) bool {
	if !u.Enabled || !u.inGroup() {
		return false
	}
	for _, token := range u.tokens {
		if digest == proof("token", token.Token) {
			return token.Ends < 0 || now.Unix() < int64(token.Ends)
		}
	}
	return digest == proof("password", u.password)
}

// inGroup reports whether the user is in the group of the session: oned takes a
// server user's word for any.
func (u User) inGroup() bool { return !u.Scoped || slices.Contains(u.Groups, u.EffectiveGID) }

func proof(kind, secret string) string {
	digest := sha256.Sum256([]byte(kind + " " + secret))
	return hex.EncodeToString(digest[:])
}

func readUser(r *onexml.Reader) User {
	u := User{Enabled: true}
	r.Fields(onexml.Fields{
		"ID": &u.Identity.UID, "GID": &u.Identity.GID, "GNAME": &u.Identity.GName, "NAME": &u.Identity.UName,
		"AUTH_DRIVER": &u.driver, "PASSWORD": &u.password,
		"GROUPS":  func() { r.At(func() { u.Groups = append(u.Groups, r.Int()) }, "ID") },
		"ENABLED": func() { u.Enabled = r.String() != "0" },
		"LOGIN_TOKEN": func() {
			token := loginToken{}
			r.Fields(onexml.Fields{"TOKEN": &token.Token, "EXPIRATION_TIME": &token.Ends, "EGID": &token.EGID})
			u.tokens = append(u.tokens, token)
		},
	})
	return u
}

// User fetches a user by id; -1 is the session's own (one.user.info).
func (c *caller) User(ctx context.Context, id int) (User, error) {
	found, err := object(ctx, c, readUser, methodUserInfo, id, false)
	if err != nil {
		return User{}, err
	}
	return c.user(found), nil
}

// Users lists the users that the session may see (one.userpool.info).
func (c *caller) Users(ctx context.Context) ([]PoolEntry, error) {
	return pool(ctx, c, "USER", readEntry, "one.userpool.info")
}

// Groups lists the groups that the session may see (one.grouppool.info).
func (c *caller) Groups(ctx context.Context) ([]PoolEntry, error) {
	return pool(ctx, c, "GROUP", readEntry, "one.grouppool.info")
}

// user returns a user with the group in which the session acts.
func (c *caller) user(found User) User {
	group := c.group
	for _, token := range found.tokens {
		if group < 0 && c.secret != "" && token.Token == c.secret {
			group = token.EGID
		}
	}
	found.EffectiveGID, found.Scoped = found.Identity.GID, group >= 0
	if found.Scoped {
		found.EffectiveGID = group
	}
	return found
}
