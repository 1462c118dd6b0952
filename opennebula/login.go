package opennebula

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowjet/flowjet/flow/one"
)

// Authenticate returns the user of the credentials, and the time at which they expire; zero if that is
// not known. The secret is a user's password or login token, or a server user's "<target>:<token>". The error
// of refused credentials has CodeAuthentication.
func (c *Client) Authenticate(ctx context.Context, name, secret string) (User, time.Time, error) {
	if name == c.tokens.user {
		return c.authenticateServer(ctx, secret)
	}
	if user, matches := c.matchesHash(ctx, name, secret); matches {
		return user, time.Time{}, nil
	}
	refused := error(&Error{Method: methodUserInfo, Code: CodeAuthentication, Message: "the credentials are not valid"})
	// OneFlow tries these forms in this order: oned compares texts literally, and refuses blanks and characters above U+FFFF; some of
	// its drivers expect special characters escaped.
	forms := []credentials{{name, secret}, {escape(name), escape(secret)}}
	switch {
	case strings.ContainsAny(name+secret, " \t\n\v\f\r") || one.BeyondBMP(name+secret):
		forms = forms[1:]
	case forms[0] == forms[1]:
		forms = forms[:1]
	}
	for _, attempt := range forms {
		user, err := c.With(attempt.name, attempt.secret).User(ctx, -1)
		if err == nil {
			user, err = scopedByServer(user, attempt)
			return user, time.Time{}, err
		}
		if refused = err; !IsCode(err, CodeAuthentication) {
			break
		}
	}
	return User{}, time.Time{}, refused
}

// matchesHash returns the user if oned keeps a hash of the password (driver core) and the
// secret matches it. oned returns that hash to the session in which Flowjet acts for the user
// anyway; a session with the password would replace that one, and the next call run an
// auth driver. A secret that does not match is left to oned.
func (c *Client) matchesHash(ctx context.Context, name, secret string) (User, bool) {
	session := c.For(name)
	if session.group >= 0 {
		return User{}, false
	}
	session.guess = true
	found, err := object(ctx, session.caller, readUser, methodUserInfo, -1, false)
	if err != nil {
		return User{}, false
	}
	digest := sha256.Sum256([]byte(secret))
	hash := hex.EncodeToString(digest[:])
	matches := found.driver == "core" && found.Enabled && found.Identity.UName == name &&
		subtle.ConstantTimeCompare([]byte(hash), []byte(found.password)) == 1
	return session.user(found), matches
}

// authenticateServer checks a token of our own server user here, because its password is known: a check by oned
// would replace the session in which Flowjet acts for the user, and the next call replace it
// again, each at the cost of an auth driver. Unlike oned this compares the target in the token with
// the one in the session. A token for a user is also valid for the user in one group.
func (c *Client) authenticateServer(ctx context.Context, secret string) (User, time.Time, error) {
	refused := &Error{Method: methodUserInfo, Code: CodeAuthentication, Message: "the server user's token is not valid"}
	cut := strings.LastIndexByte(secret, ':')
	if cut <= 0 {
		return User{}, time.Time{}, refused
	}
	t, target, token := c.tokens, secret[:cut], secret[cut+1:]
	t.mutex.Lock()
	key := t.key
	t.mutex.Unlock()
	expires, genuine := t.madeFor(key, target, token)
	if name, group := splitTarget(target); group >= 0 && !genuine {
		expires, genuine = t.madeFor(key, name, token)
	}
	if !genuine || !t.onedTime().Round(0).Before(expires) {
		return User{}, time.Time{}, refused
	}
	user, err := c.For(target).User(ctx, -1)
	if err == nil && !user.inGroup() {
		err = errForeignGroup
	}
	return user, expires, err
}

// errForeignGroup is returned for a session in a group that the user is not in. oned does not check a server user's group.
var errForeignGroup = &Error{Method: methodUserInfo, Code: CodeAuthentication, Message: "the user is not in the group of the token"}

const methodUserInfo = "one.user.info"

// credentials are a name and a secret in the form in which oned gets them.
type credentials struct{ name, secret string }

// escape escapes as Ruby's URI escape does, which OneFlow uses.
func escape(text string) string {
	const kept = "-_.!~*'();/?:@&=+$,[]"
	var escaped strings.Builder
	for i := range len(text) {
		if c := text[i : i+1]; strings.Contains(kept, c) {
			escaped.WriteString(c)
		} else {
			escaped.WriteString(url.PathEscape(c))
		}
	}
	return escaped.String()
}

// scopedByServer returns the user of a session of another server user than ours, "<target>:<group>:<token>",
// which oned has accepted, with its group.
func scopedByServer(user User, asked credentials) (User, error) {
	if user.Identity.UName == asked.name && !strings.HasPrefix(user.driver, "server") {
		return user, nil
	}
	rest, found := strings.CutPrefix(asked.secret, user.Identity.UName+":")
	group, _, scoped := strings.Cut(rest, ":")
	if !found || !scoped {
		return user, nil
	}
	gid, err := strconv.Atoi(group)
	if err != nil || !slices.Contains(user.Groups, gid) {
		return User{}, errForeignGroup
	}
	user.EffectiveGID, user.Scoped = gid, true
	return user, nil
}

// madeFor reports whether a token was made with the key for a target, and when it expires. It makes the token
// again and compares it as a whole, so that an answer does not reveal how far a forged one matched.
func (t *serverTokens) madeFor(key []byte, target, token string) (expires time.Time, genuine bool) {
	prefix := t.user + ":" + target + ":"
	text := decrypt(key, token)
	const maxDigits = 12
	var seconds int64
	for i := len(prefix); i < min(len(text), len(prefix)+maxDigits) && text[i] >= '0' && text[i] <= '9'; i++ {
		seconds = seconds*10 + int64(text[i]-'0')
	}
	again := encrypt(key, prefix+strconv.FormatInt(seconds, 10))
	return time.Unix(seconds, 0), subtle.ConstantTimeCompare([]byte(again), []byte(token)) == 1
}

// decrypt reverses encrypt, including the padding, which is not checked. It returns nil for a text that encrypt
// cannot have made.
func decrypt(key []byte, token string) []byte {
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(text)%aes.BlockSize != 0 {
		return nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("opennebula: server cipher: " + err.Error()) // the key has 32 bytes by construction
	}
	cipher.NewCBCDecrypter(block, key[:aes.BlockSize]).CryptBlocks(text, text)
	return text
}

// tokenPeriod is for how long tokens stay the same. oned keeps one session string a
// user and runs an auth driver of 200-500 ms for each other one, so every process has to
// send the same: the token is deterministic, and its only free part, the expiry, is
// cut to the wall clock. A token is valid for one to two periods, so that clocks may
// differ and a call under way at the change is still accepted.
const (
	tokenPeriod = 30 * time.Minute
	maxTokens   = 10_000
	// clockTolerance is how far this host's clock may be from oned's before tokens follow oned's. Up to it, every process makes the
	// same token by its own clock, and oned accepts it. Nobody who answers in oned's place gets tokens for more than furthestClock.
	clockTolerance = tokenPeriod / 3
	furthestClock  = 24 * time.Hour
)

// serverTokens makes the server user's tokens, and keeps those of the period.
type serverTokens struct {
	user   string
	key    []byte
	before []byte // the key before the last change of the password, nil for none
	now    func() time.Time
	// behind is how far this host's clock is behind oned's, 0 within clockTolerance: oned would refuse tokens of a clock that was set
	// back as expired.
	behind atomic.Int64

	mutex  sync.Mutex
	period int64
	made   map[string]string // by target
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
// user's name or "name:gid". oned reads it literally, without unescaping anything. The
// group is beside the token and not in it: oned compares tokens alone with the
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

func (t *serverTokens) currentPeriod() int64 {
	return t.onedTime().Unix() / int64(tokenPeriod/time.Second)
}

// onedTime returns the time by oned's clock as far as it differs much from this host's.
func (t *serverTokens) onedTime() time.Time { return t.now().Add(time.Duration(t.behind.Load())) }

// followClock has tokens follow the clock of an answer's Date. It returns how far this host's clock is behind, 0 if tokens keep to this
// host's, and reports whether that has changed much.
func (t *serverTokens) followClock(date string) (behind time.Duration, changed bool) {
	theirs, err := ParseDate(date)
	if err != nil {
		return 0, false
	}
	if behind = theirs.Sub(t.now()); behind.Abs() <= clockTolerance || behind.Abs() > furthestClock {
		behind = 0
	}
	before := time.Duration(t.behind.Swap(int64(behind)))
	return behind, (behind - before).Abs() > clockTolerance
}

// cipherKey returns the AES key that oned's server_cipher driver derives from a
// password: 32 characters of its SHA-256 in hex.
func cipherKey(password string) []byte {
	digest := sha256.Sum256([]byte(password))
	return []byte(hex.EncodeToString(digest[:])[:32])
}

// encrypt returns AES-256-CBC with PKCS#7 padding in base64. The fixed IV is the
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

// splitTarget splits "name:gid"; the group is -1 without one.
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

// GoString returns String, for %#v.
func (c Credentials) GoString() string { return c.String() }

const maxCredentialsSize = 4096 // bytes

// ReadCredentials reads a file that holds "serveradmin:password", such as
// OneFlow's /var/lib/one/.one/oneflow_auth.
func ReadCredentials(path string) (Credentials, error) {
	file, err := os.Open(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("read the server user's credentials: %w", err)
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
// removed. The error never repeats the text.
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
