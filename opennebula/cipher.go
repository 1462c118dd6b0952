package opennebula

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tokenPeriod is for how long tokens stay the same. oned keeps one session string a
// user and runs an auth driver of 200-500 ms for each other one, so every process has to
// send the same: the token is deterministic, and what is chosen in it, its expiry, is
// cut to the wall clock. A token is valid for one to two periods, so that clocks may
// differ and a call under way at the change is still accepted.
const (
	tokenPeriod = 30 * time.Minute
	maxTokens   = 10_000
)

// serverTokens makes the server user's tokens, and keeps those of the period.
type serverTokens struct {
	user   string
	key    []byte
	before []byte // the key before the last change of the password, nil for none
	now    func() time.Time
	mutex  sync.Mutex
	period int64
	made   map[string]string // by the user acted for
}

func newServerTokens(credentials Credentials, now func() time.Time) *serverTokens {
	return &serverTokens{
		user: credentials.User,
		key:  cipherKey(credentials.Password),
		now:  now,
		made: map[string]string{},
	}
}

// renew sets another password of the server user. It reports whether it was another.
func (t *serverTokens) renew(password string) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	key := cipherKey(password)
	if bytes.Equal(key, t.key) {
		return false
	}
	t.key, t.before = key, t.key
	clear(t.made)
	return true
}

// session returns the session string in which the server user acts for target, a
// user's name or "name:gid". oned reads it as it is, without unescaping anything. The
// group stands beside the token and not in it: oned compares tokens alone with the
// session that it keeps, so that calls for a user with and without a group do not
// evict each other.
func (t *serverTokens) session(target string) string {
	name, _ := splitTarget(target)
	return t.user + ":" + target + ":" + t.token(name)
}

// currentPeriod numbers the period whose tokens are sent now.
func (t *serverTokens) currentPeriod() int64 { return t.now().Unix() / int64(tokenPeriod/time.Second) }

func (t *serverTokens) token(name string) string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	length := int64(tokenPeriod / time.Second)
	if period := t.now().Unix() / length; period != t.period || len(t.made) >= maxTokens {
		t.period = period
		clear(t.made)
	}
	token, found := t.made[name]
	if !found {
		token = encrypt(t.key, fmt.Sprintf("%s:%s:%d", t.user, name, (t.period+2)*length))
		t.made[name] = token
	}
	return token
}

// cipherKey is the AES key that oned's server_cipher driver derives from a
// password: 32 characters of its SHA-256 in hex.
func cipherKey(password string) []byte {
	digest := sha256.Sum256([]byte(password))
	return []byte(hex.EncodeToString(digest[:])[:32])
}

// encrypt is AES-256-CBC with PKCS#7 padding in base64. The fixed IV is the
// driver's, not a choice.
func encrypt(key []byte, text string) string {
	block, err := aes.NewCipher(key)
	if err != nil {
		// The key has 32 bytes by construction.
		panic("opennebula: server cipher: " + err.Error())
	}
	padding := aes.BlockSize - len(text)%aes.BlockSize
	padded := append([]byte(text), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, key[:aes.BlockSize]).CryptBlocks(padded, padded)
	return base64.StdEncoding.EncodeToString(padded)
}

// splitTarget takes the group off "name:gid"; -1 without one.
func splitTarget(target string) (name string, group int) {
	if left, right, found := strings.Cut(target, ":"); found {
		if gid, err := strconv.ParseUint(right, 10, 31); err == nil {
			return left, int(gid)
		}
	}
	return target, -1
}

func (t *serverTokens) keys() [][]byte {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.before == nil {
		return [][]byte{t.key}
	}
	return [][]byte{t.key, t.before}
}
