package sim

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// authenticate finds who a session string stands for:
//
//	name:password                       a user's own
//	name:token                          a login token, perhaps scoped to a group
//	serveradmin:<target>:<cipher token> the server user, acting for the target
//
// Both halves may be URL-escaped. The caller holds the lock.
func (c *cloud) authenticate(session string) (identity, bool) {
	name, secret, found := strings.Cut(session, ":")
	if !found {
		return identity{}, false
	}
	u := c.userNamed(unescape(name))
	if u == nil || u.Disabled {
		return identity{}, false
	}
	if u.Driver == driverServer {
		return c.authenticateServer(u, secret)
	}
	secret = unescape(secret)
	if u.accepts(secret) {
		return identity{user: u, gid: u.GID, groups: u.Groups}, true
	}
	if t, ok := u.token(secret); ok {
		return scoped(u, t.GID)
	}
	return identity{}, false
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

func unescape(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

// authenticateServer checks "<target>:<token>"; the token's plain text is
// "<server user>:<target>:<expiry>". A target "name:gid" keeps the group that
// the user's own token was scoped to; the token need not name it. oned does not
// compare the users of both: the simulator does, to notice a token made for another.
func (c *cloud) authenticateServer(server *user, rest string) (identity, bool) {
	cut := strings.LastIndexByte(rest, ':')
	if cut < 0 {
		return identity{}, false
	}
	target, token := unescape(rest[:cut]), unescape(rest[cut+1:])
	plain, ok := decryptServerToken(server.PasswordHash, token)
	if !ok {
		return identity{}, false
	}
	expiry, matches := strings.CutPrefix(plain, server.Name+":"+target+":")
	if !matches {
		name, _, _ := strings.Cut(target, ":")
		expiry, matches = strings.CutPrefix(plain, server.Name+":"+name+":")
	}
	seconds, err := strconv.ParseInt(expiry, 10, 64)
	if !matches || err != nil || seconds <= time.Now().Unix() {
		return identity{}, false
	}
	if u := c.userNamed(target); u != nil {
		return scoped(u, -1)
	}
	name, gidText, _ := strings.Cut(target, ":")
	u := c.userNamed(name)
	gid, err := strconv.Atoi(gidText)
	if u == nil || err != nil {
		return identity{}, false
	}
	return scoped(u, gid)
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
