package opennebula

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Authenticate returns the user for whom credentials stand, and the time at which they end; zero if that is
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
	// OneFlow tries these forms in this order: oned compares texts as they are, and refuses blanks; some of its drivers want
	// what is special escaped.
	forms := []credentials{{name, secret}, {escape(name), escape(secret)}}
	switch {
	case strings.ContainsAny(name+secret, " \t\n\v\f\r"):
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

// matchesHash returns the user whose password the secret is, where oned keeps its hash
// (driver core). oned shows that hash to the session in which Flowjet acts for the user
// anyway; a session with the password would replace that one, and the next call run an
// auth driver. Whatever does not match is for oned to judge.
func (c *Client) matchesHash(ctx context.Context, name, secret string) (User, bool) {
	session := c.For(name)
	if session.group >= 0 {
		return User{}, false
	}
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

// authenticateServer checks a token of our own server user here, for its password is known: to have oned check
// it would put another session in place of the one in which Flowjet acts for the user, and that one back at
// the next call, each at the price of an auth driver. Unlike oned this holds the target in the token against
// the one in the session. A token for a user is good for the user in one group, too.
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
	if !genuine || !t.now().Round(0).Before(expires) {
		return User{}, time.Time{}, refused
	}
	user, err := c.For(target).User(ctx, -1)
	if err == nil && user.Scoped && !slices.Contains(user.Groups, user.EffectiveGID) {
		err = errForeignGroup
	}
	return user, expires, err
}

// errForeignGroup refuses a session in a group that the user is not in. oned takes a server user's word for it.
var errForeignGroup = &Error{Method: methodUserInfo, Code: CodeAuthentication, Message: "the user is not in the group of the token"}

const methodUserInfo = "one.user.info"

// credentials are a name and a secret in the form in which oned is to see them.
type credentials struct{ name, secret string }

// escape is what Ruby's URI escape does, which OneFlow uses.
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

// scopedByServer finds the group in a session of another server user than ours, "<target>:<group>:<token>",
// which oned has accepted.
func scopedByServer(user User, asked credentials) (User, error) {
	if user.Identity.UName == asked.name && !user.server {
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

// madeFor reports whether a token was made with the key for a target, and until when it holds. It makes the token
// again and compares it as a whole, so that an answer tells nothing of how far a forged one came.
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

// decrypt is encrypt's way back, with the padding, which nobody looks at. It is nil for what encrypt cannot
// have made.
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
