package sim

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// claim is what a session string says, and whether that is true.
type claim struct {
	who   identity
	valid bool
	// proof is what oned remembers of the session, "" for a login token.
	proof string
	// byDriver: the authentication driver has to be asked.
	byDriver bool
}

// claim reads a session string:
//
//	name:password                       a user's own
//	name:token                          a login token, perhaps scoped to a group
//	serveradmin:<target>:<cipher token> the server user, acting for the target
//
// All of it counts as it is: oned unescapes nothing. The caller holds the lock.
func (c *cloud) claim(session string) claim {
	name, secret, found := strings.Cut(session, ":")
	if !found {
		return claim{}
	}
	u := c.userNamed(name)
	if u == nil || u.Disabled {
		return claim{}
	}
	if u.Driver == driverServer {
		return c.serverClaim(u, secret)
	}
	if t, ok := u.token(secret); ok {
		who, valid := scoped(u, t.GID)
		return claim{who: who, valid: valid}
	}
	return claim{who: identity{user: u, gid: u.GID, groups: u.Groups}, valid: u.accepts(secret), proof: secret}
}

// scoped is a user acting in one group only; gid -1 in all of them.
func scoped(u *user, gid int) (identity, bool) {
	who := identity{user: u, gid: u.GID, groups: u.Groups}
	if gid < 0 {
		return who, true
	}
	if !who.inGroup(gid) {
		return identity{}, false
	}
	return identity{user: u, gid: gid, groups: []int{gid}}, true
}

// serverClaim reads "<target>:<token>" or "<target>:<group>:<token>"; the token's plain text is
// "<server user>:<target>:<expiry>". As oned does, it takes the session's word for the target and the group:
// the driver compares the server user's name and the expiry, nothing else.
func (c *cloud) serverClaim(server *user, rest string) claim {
	target, token, found := strings.Cut(rest, ":")
	if !found {
		return claim{}
	}
	group := -1
	if text, after, scoped := strings.Cut(token, ":"); scoped {
		gid, err := strconv.Atoi(text)
		if err != nil {
			return claim{}
		}
		group, token = gid, after
	}
	u := c.userNamed(target)
	if u == nil {
		return claim{}
	}
	read := claim{who: identity{user: u, gid: u.GID, groups: u.Groups}, proof: token, byDriver: true}
	if group >= 0 {
		read.who.gid, read.who.groups = group, []int{group}
	}
	plain, ok := decryptServerToken(server.PasswordHash, token)
	parts := strings.Split(plain, ":")
	seconds, err := strconv.ParseInt(parts[len(parts)-1], 10, 64)
	read.valid = ok && parts[0] == server.Name && err == nil && seconds > time.Now().Unix()
	return read
}

// decryptServerToken undoes base64(AES-256-CBC(text)) with PKCS#7 padding; the
// key is the first half of the password's hex hash and the IV the key's first
// half, as core_auth's cipher has it.
func decryptServerToken(passwordHash, token string) (string, bool) {
	raw, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(raw) == 0 || len(raw)%aes.BlockSize != 0 || len(passwordHash) < 32 {
		return "", false
	}
	key := []byte(passwordHash[:32])
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", false
	}
	plain := make([]byte, len(raw))
	cipher.NewCBCDecrypter(block, key[:aes.BlockSize]).CryptBlocks(plain, raw)
	padding := int(plain[len(plain)-1])
	if padding == 0 || padding > aes.BlockSize {
		return "", false
	}
	for _, b := range plain[len(plain)-padding:] {
		if int(b) != padding {
			return "", false
		}
	}
	return string(plain[:len(plain)-padding]), true
}
