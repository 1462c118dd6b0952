package sim

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"time"
)

// The authentication drivers that are simulated.
const (
	driverCore   = "core"
	driverServer = "server_cipher"
)

// user is a user of the zone. Passwords are kept as oned does, hashed.
type user struct {
	ID           int          `json:"id"`
	GID          int          `json:"gid"`
	Groups       []int        `json:"groups"`
	Name         string       `json:"name"`
	PasswordHash string       `json:"password_hash"`
	Driver       string       `json:"driver"`
	Disabled     bool         `json:"disabled,omitempty"`
	Tokens       []loginToken `json:"tokens,omitempty"`
	Template     template     `json:"template"`
}

// loginToken is a token of one.user.login; GID -1 is not scoped to a group.
type loginToken struct {
	Token   string `json:"token"`
	Expires int64  `json:"expires"`
	GID     int    `json:"gid"`
}

// group is a group of users.
type group struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// hashPassword is oned's hash of a password, hex of its SHA-256.
func hashPassword(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

func newUser(id, gid int, name, password, driver string) *user {
	hash := hashPassword(password)
	u := &user{ID: id, GID: gid, Groups: []int{gid}, Name: name, PasswordHash: hash, Driver: driver}
	if driver == driverCore {
		u.Template = template{single("TOKEN_PASSWORD", hashPassword(randomHex(32)))}
	}
	return u
}

// randomHex is n random bytes in hex.
func randomHex(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	return hex.EncodeToString(raw)
}

// accepts reports whether a secret is the user's password.
func (u *user) accepts(secret string) bool {
	return u.Driver == driverCore &&
		subtle.ConstantTimeCompare([]byte(hashPassword(secret)), []byte(u.PasswordHash)) == 1
}

// token finds a login token that has not expired.
func (u *user) token(secret string) (loginToken, bool) {
	for _, t := range u.Tokens {
		alive := t.Expires == -1 || t.Expires > time.Now().Unix()
		if alive && subtle.ConstantTimeCompare([]byte(t.Token), []byte(secret)) == 1 {
			return t, true
		}
	}
	return loginToken{}, false
}

func (u *user) joins(gid int) {
	if !slices.Contains(u.Groups, gid) {
		u.Groups = append(u.Groups, gid)
		slices.Sort(u.Groups)
	}
}

func (u *user) leaves(gid int) {
	u.Groups = slices.DeleteFunc(slices.Clone(u.Groups), func(g int) bool { return g == gid })
}

// unshare gives a copy groups and tokens of its own.
func (u *user) unshare() { u.Groups, u.Tokens = slices.Clone(u.Groups), slices.Clone(u.Tokens) }

// write writes the user up to its template, without the closing tag.
func (u *user) write(b *xmlWriter, groupName string) {
	open(b, "USER")
	number(b, "ID", u.ID)
	number(b, "GID", u.GID)
	identifiers(b, "GROUPS", u.Groups)
	element(b, "GNAME", groupName)
	element(b, "NAME", u.Name)
	cdata(b, "PASSWORD", u.PasswordHash)
	cdata(b, "AUTH_DRIVER", u.Driver)
	enabled := 1
	if u.Disabled {
		enabled = 0
	}
	number(b, "ENABLED", enabled)
	for _, t := range u.Tokens {
		open(b, "LOGIN_TOKEN")
		element(b, "TOKEN", t.Token)
		moment(b, "EXPIRATION_TIME", t.Expires)
		number(b, "EGID", t.GID)
		shut(b, "LOGIN_TOKEN")
	}
	u.Template.write(b, "TEMPLATE")
}

// quotaElements are the empty quota elements behind a user.
const quotaElements = "<DATASTORE_QUOTA></DATASTORE_QUOTA><NETWORK_QUOTA></NETWORK_QUOTA>" +
	"<VM_QUOTA></VM_QUOTA><IMAGE_QUOTA></IMAGE_QUOTA>"

const defaultQuotas = "<DEFAULT_USER_QUOTAS>" + quotaElements + "</DEFAULT_USER_QUOTAS>"
