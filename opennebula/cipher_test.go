package opennebula

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
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
	for _, user := range []string{"oneadmin", "alice@corp.example", "a+b/c%20d", "bob:104", "\u00fcber", "serveradmin."} {
		session := client.For(user).current()
		prefix := "serveradmin:" + user + ":" // oned unescapes nothing
		token, found := strings.CutPrefix(session, prefix)
		if !found {
			t.Errorf("session of %q does not begin with %q", user, prefix)
			continue
		}
		if text := decryptToken(t, testCredentials.Password, token); !strings.HasPrefix(text, "serveradmin:"+strings.TrimSuffix(user, ":104")+":") {
			t.Errorf("token of %q holds %q", user, text)
		}
	}
	if session := client.With("alice@corp", "p:a%s").current(); session != "alice@corp:p:a%s" {
		t.Errorf("own session %q", session)
	}
}

// TestProcessesSendTheSameSession: oned keeps one session string a user and runs an
// auth driver for each other one.
func TestProcessesSendTheSameSession(t *testing.T) {
	start := time.Unix(1_700_000_000, 0).Truncate(tokenPeriod)
	at := func(after time.Duration, target string) string {
		return newServerTokens(testCredentials, func() time.Time { return start.Add(after) }).session(target)
	}
	first := at(0, "alice")
	if at(tokenPeriod-time.Second, "alice") != first {
		t.Error("two processes that started at different times of a period send different sessions")
	}
	if at(tokenPeriod, "alice") == first {
		t.Error("the session is not renewed at the period's end")
	}
	want := fmt.Sprintf("serveradmin:alice:%d", start.Add(2*tokenPeriod).Unix())
	if text := decryptToken(t, testCredentials.Password, strings.TrimPrefix(first, "serveradmin:alice:")); text != want {
		t.Errorf("token %q, want %q", text, want)
	}
	if scoped := at(0, "alice:104"); scoped != strings.Replace(first, ":alice:", ":alice:104:", 1) {
		t.Errorf("with a group the token is another, which evicts the one without: %s", scoped)
	}
}

func TestTokensAreRenewed(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	tokens := newServerTokens(testCredentials, func() time.Time { return now })
	first := tokens.session("alice")
	now = now.Add(tokenPeriod)
	if tokens.session("alice") == first {
		t.Error("a running process keeps the last period's session")
	}
}

// oned's driver refuses a token that has expired by its clock: where this host's clock was set back, or is ahead, the call is repeated with a
// token by oned's clock, and later calls have it from the first. Other sessions are not repeated, and a Date of another year is not followed.
func TestTokensFollowTheClockOfOned(t *testing.T) {
	start := time.Date(2026, time.November, 29, 12, 5, 0, 0, time.UTC)
	for _, test := range []struct {
		name  string
		ours  time.Duration // our clock, beside oned's
		calls int           // for the first answer
		token time.Duration // the last token's expiry, from the beginning of oned's period
		fails bool
	}{
		{"the same clock", 0, 1, 2 * tokenPeriod, false},
		{"nine minutes behind, in the period before", -9 * time.Minute, 1, tokenPeriod, false},
		{"an hour behind", -time.Hour, 2, 2 * tokenPeriod, false},
		{"an hour ahead", time.Hour, 1, 2 * tokenPeriod, false},
		{"a year behind", -365 * 24 * time.Hour, 1, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			calls, last, target, said := 0, "", "serveradmin", "&lt;RAFT&gt;&lt;TERM&gt;7&lt;/TERM&gt;&lt;/RAFT&gt;"
			oned := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				_, rest, _ := strings.Cut(string(body), "serveradmin:"+target+":")
				token, _, _ := strings.Cut(rest, "<")
				last = decryptToken(t, testCredentials.Password, token)
				expires, err := strconv.ParseInt(last[strings.LastIndexByte(last, ':')+1:], 10, 64)
				if err != nil {
					t.Error(err)
				}
				w.Header().Set("Date", start.Format("Mon, 02 Jan 2006 15:04:05 UTC"))
				if start.Unix() >= expires {
					fmt.Fprint(w, envelope("<boolean>0</boolean>", "<string>[one.system.version] User couldn't be authenticated, aborting call.</string>",
						fmt.Sprintf("<i4>%d</i4>", CodeAuthentication), "<i4>-1</i4>", "<i8>-1</i8>"))
					return
				}
				fmt.Fprint(w, envelope("<boolean>1</boolean>", "<string>"+said+"</string>", "<i4>0</i4>"))
			}))
			defer oned.Close()
			client := newTestClient(t, oned.URL)
			client.tokens.now = func() time.Time { return start.Add(test.ours) }
			status, err := client.raftStatus(t.Context(), oned.URL) // by which the leader is found
			if test.fails != IsCode(err, CodeAuthentication) || !test.fails && status.Term != 7 || calls != test.calls {
				t.Fatalf("%+v %v after %d calls, want %d", status, err, calls, test.calls)
			}
			client = newTestClient(t, oned.URL)
			client.tokens.now = func() time.Time { return start.Add(test.ours) }
			target, said = "alice", "7.4.0"
			for _, want := range []int{test.calls, 1} {
				calls = 0
				answer, err := client.send(t.Context(), client.For("alice").caller, "one.system.version", nil)
				version := fmt.Sprintf("%s", answer)
				if test.fails != IsCode(err, CodeAuthentication) || !test.fails && version != "7.4.0" || calls != want {
					t.Fatalf("%q %v after %d calls, want %d", version, err, calls, want)
				}
			}
			if want := fmt.Sprintf("serveradmin:alice:%d", start.Truncate(tokenPeriod).Add(test.token).Unix()); !test.fails && last != want {
				t.Errorf("token %q, want %q", last, want)
			}
		})
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
