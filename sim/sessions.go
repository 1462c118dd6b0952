package sim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	who := identity{user: u, gid: u.GID, groups: u.Groups}
	for _, t := range u.Tokens {
		switch {
		case !t.alive() || subtle.ConstantTimeCompare([]byte(t.Token), []byte(secret)) == 0:
		case t.GID < 0:
			return claim{who: who, valid: true}
		case !who.inGroup(t.GID):
			return claim{}
		default:
			return claim{who: identity{user: u, gid: t.GID, groups: []int{t.GID}}, valid: true}
		}
	}
	matches := subtle.ConstantTimeCompare([]byte(hashPassword(secret)), []byte(u.PasswordHash)) == 1
	return claim{who: who, valid: matches && u.Driver == driverCore, proof: secret}
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

// decryptServerToken undoes base64(AES-256-CBC(text)) with PKCS#7 padding; the key is the first
// half of the password's hex hash and the IV the key's first half, as core_auth's cipher has it.
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
	cipher.NewCBCDecrypter(block, key[:aes.BlockSize]).CryptBlocks(raw, raw)
	last := raw[len(raw)-1]
	plain, padded := bytes.CutSuffix(raw, bytes.Repeat([]byte{last}, int(last)))
	return string(plain), padded && last > 0 && last <= aes.BlockSize
}

const (
	// sessionLife is oned's SESSION_EXPIRATION_TIME.
	sessionLife = 15 * time.Minute
	// authDriverTime is what a run of oned's authentication driver, a process of
	// its own, costs of a processor.
	authDriverTime = 300 * time.Millisecond
)

// sessions are what one oned remembers of whom it has let in.
type sessions struct {
	// cached is for each user's id the cachedSession that was checked last.
	cached sync.Map
	// runs counts those of the authentication driver. One of them holds the
	// processor, of which the server has one, for as long as it costs.
	runs      atomic.Int64
	processor chan struct{}
	cost      time.Duration
}

type cachedSession struct {
	proof string
	until time.Time
}

// has reports whether a user's proof is the one that is remembered.
func (s *sessions) has(c claim) bool {
	found, known := s.cached.Load(c.who.user.ID)
	return known && found.(cachedSession).proof == c.proof && time.Now().Before(found.(cachedSession).until)
}

// runDriver takes the time of a run, behind those that began before it. It
// goes on when the client has left, as a process does.
func (s *sessions) runDriver(quit <-chan struct{}) {
	s.runs.Add(1)
	select {
	case s.processor <- struct{}{}:
		defer func() { <-s.processor }()
	case <-quit:
		return
	}
	timer := time.NewTimer(s.cost)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-quit:
	}
}

// admit is the time that it takes a server to find out whom a session string
// stands for. Login tokens and passwords are compared in memory, a password in
// the place of what was remembered of the user; a server user's token takes a
// run of the driver unless it is the one that is remembered.
func (s *server) admit(session string) {
	var c claim
	s.view(func(cloud *cloud) { c = cloud.claim(session) })
	if c.proof == "" || c.byDriver && s.sessions.has(c) {
		return
	}
	if c.byDriver {
		s.sessions.runDriver(s.zone.quit)
	}
	if c.valid {
		s.sessions.cached.Store(c.who.user.ID, cachedSession{c.proof, time.Now().Add(sessionLife)})
	}
}

// admitted is whom a server lets in for a session string, of those that admit has seen.
func (s *server) admitted(cloud *cloud, session string) (identity, bool) {
	c := cloud.claim(session)
	return c.who, c.valid || c.byDriver && s.sessions.has(c)
}
