package opennebula

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
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

// session returns the session string in which the server user acts for target, a
// user's name or "name:gid". oned reads it as it is, without unescaping anything. The
// group stands beside the token and not in it: oned compares tokens alone with the
// session that it keeps, so that calls for a user with and without a group do not
// evict each other.
func (t *serverTokens) session(target string) string {
	name, _ := splitTarget(target)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	period := t.currentPeriod()
	if period != t.period || len(t.made) >= maxTokens {
		t.period = period
		clear(t.made)
	}
	token, found := t.made[name]
	if !found {
		token = encrypt(t.key, fmt.Sprintf("%s:%s:%d", t.user, name, (period+2)*int64(tokenPeriod/time.Second)))
		t.made[name] = token
	}
	return t.user + ":" + target + ":" + token
}

func (t *serverTokens) currentPeriod() int64 { return t.now().Unix() / int64(tokenPeriod/time.Second) }

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

// Credentials are the server user's: the user of oned (serveradmin) that may
// act for every other one.
type Credentials struct{ User, Password string }

// String hides the password from anything that prints credentials.
func (c Credentials) String() string { return c.User + ":***" }

// GoString is String, for %#v.
func (c Credentials) GoString() string { return c.String() }

const maxCredentialsSize = 4096 // bytes

// ReadCredentials reads a file that holds "serveradmin:password", such as
// OneFlow's /var/lib/one/.one/oneflow_auth.
func ReadCredentials(path string) (Credentials, error) {
	file, err := os.Open(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("read the server user's credentials: %w (run as oneadmin or give another file)", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxCredentialsSize+1))
	if err != nil {
		return Credentials{}, fmt.Errorf("read the server user's credentials from %s: %w", path, err)
	}
	if len(text) > maxCredentialsSize {
		return Credentials{}, fmt.Errorf("credentials file %s is larger than %d bytes: it must have one line, user:password", path, maxCredentialsSize)
	}
	credentials, err := ParseCredentials(string(text))
	if err != nil {
		return Credentials{}, fmt.Errorf("credentials file %s: %w", path, err)
	}
	return credentials, nil
}

// ParseCredentials reads "user:password"; blanks and line ends around it are
// left out. The error never repeats the text.
func ParseCredentials(text string) (Credentials, error) {
	line := strings.TrimSpace(text)
	if line == "" {
		return Credentials{}, errors.New("it is empty, but must have one line, user:password")
	}
	if strings.ContainsAny(line, "\r\n") {
		return Credentials{}, errors.New("it has more than one line, but must have one, user:password")
	}
	user, password, found := strings.Cut(line, ":")
	if !found || user == "" || password == "" {
		return Credentials{}, errors.New("it must have one line, user:password, and one of them is missing")
	}
	return Credentials{User: user, Password: password}, nil
}
