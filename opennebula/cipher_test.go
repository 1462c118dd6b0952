package opennebula

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// decryptToken is what oned's server_cipher driver does.
func decryptToken(t *testing.T, password, token string) string {
	t.Helper()
	key := cipherKey(password)
	data, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCBCDecrypter(block, key[:16]).CryptBlocks(data, data)
	return string(data[:len(data)-int(data[len(data)-1])])
}

// The expected texts were made with `openssl enc -aes-256-cbc`.
func TestServerCipherAgreesWithOpenSSL(t *testing.T) {
	if key := string(cipherKey("password")); key != "5e884898da28047151d0e56f8dc62927" {
		t.Fatalf("key %q", key)
	}
	const want = "+kniAtMiMyKsdZPnGaa5QZqIvrk6HiYeUzkTUrLoCa4="
	if got := encrypt(cipherKey("password"), "serveradmin:oneadmin:1700000000"); got != want {
		t.Fatalf("token %q, want %q", got, want)
	}
}

func TestSessionsNameTheirTarget(t *testing.T) {
	client := newTestClient(t, "http://127.0.0.1:1")
	targets := map[string]string{
		"oneadmin":     "oneadmin",
		"alice smith":  "alice%20smith",
		"a+b@c/d":      "a%2Bb%40c%2Fd",
		"bob:104":      "bob:104",
		"odd:name":     "odd%3Aname",
		"\u00fcber":    "%C3%BCber",
		"negative:-4":  "negative%3A-4",
		"serveradmin.": "serveradmin.",
	}
	for user, target := range targets {
		session := client.For(user).current()
		prefix := "serveradmin:" + target + ":"
		token, found := strings.CutPrefix(session, prefix)
		if !found {
			t.Errorf("session of %q does not begin with %q", user, prefix)
			continue
		}
		if text := decryptToken(t, testCredentials.Password, token); !strings.HasPrefix(text, "serveradmin:"+user+":") {
			t.Errorf("token of %q holds %q", user, text)
		}
	}
	if session := client.With("alice smith", "p:a s%s").current(); session != "alice%20smith:p%3Aa%20s%25s" {
		t.Errorf("own session %q", session)
	}
}

func TestTokensAreKeptAndRenewedBeforeTheyExpire(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	tokens := newServerTokens(testCredentials, func() time.Time { return now })
	first := tokens.session("alice")
	now = now.Add(tokenLife - tokenReserve)
	if tokens.session("alice") != first {
		t.Fatal("a token with time left was replaced: each new one costs an auth driver in oned")
	}
	now = now.Add(time.Second)
	second := tokens.session("alice")
	if second == first {
		t.Fatal("a token near its expiry was not renewed")
	}
	want := fmt.Sprintf("serveradmin:alice:%d", now.Add(tokenLife).Unix())
	if text := decryptToken(t, testCredentials.Password, strings.TrimPrefix(second, "serveradmin:alice:")); text != want {
		t.Fatalf("token %q, want %q", text, want)
	}
}

func TestAChangedPasswordIsTakenOver(t *testing.T) {
	client := newTestClient(t, "http://127.0.0.1:1")
	held := client.For("oneadmin")
	before := held.current()
	same := testCredentials
	if changed, err := client.Renew(same); err != nil || changed || held.current() != before {
		t.Errorf("the same password counts as another: %t %v", changed, err)
	}
	if changed, err := client.Renew(Credentials{User: same.User, Password: "another"}); err != nil || !changed {
		t.Fatal(changed, err)
	}
	token := strings.TrimPrefix(held.current(), "serveradmin:oneadmin:")
	if said := decryptToken(t, "another", token); !strings.HasPrefix(said, "serveradmin:oneadmin:") {
		t.Errorf("a session in use says %q", said)
	}
	if _, err := client.Renew(Credentials{User: "someone", Password: "another"}); !errors.Is(err, ErrOtherUser) {
		t.Error(err)
	}
}

func TestTokensAreBounded(t *testing.T) {
	tokens := newServerTokens(testCredentials, time.Now)
	for i := range maxTokens + 10 {
		tokens.session(fmt.Sprint("user", i))
	}
	if len(tokens.made) > maxTokens {
		t.Fatalf("%d tokens kept", len(tokens.made))
	}
}

func TestCredentials(t *testing.T) {
	good, err := ParseCredentials(" serveradmin:pass:word \n")
	if err != nil || good != (Credentials{"serveradmin", "pass:word"}) {
		t.Fatalf("got %#v, %v", good, err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", good, good, good, good); strings.Contains(text, "pass:word") {
		t.Fatalf("printing credentials tells the password: %s", text)
	}
	for _, bad := range []string{"", "  \n", "secret-only", ":secret-only", "user:", "a:secret-only\nb:c"} {
		if _, err := ParseCredentials(bad); err == nil || strings.Contains(err.Error(), "secret-only") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	path := filepath.Join(t.TempDir(), "oneflow_auth")
	if _, err := ReadCredentials(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("missing file: %v", err)
	}
	for text, fine := range map[string]bool{"serveradmin:x\n": true, "": false, strings.Repeat("x:", 4000): false} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadCredentials(path); (err == nil) != fine {
			t.Errorf("file of %d bytes: %v", len(text), err)
		}
	}
}
