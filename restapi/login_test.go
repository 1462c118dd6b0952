package restapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kolo/xmlrpc"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/servertoken"
)

// logIn begins a session and returns its cookie.
func (w *world) logIn(user string) string {
	w.t.Helper()
	got := w.expect(user, "POST", "/flowjet/v1/session", "", 200, `"user"`)
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	return cookie
}

func TestASessionStandsForItsUser(t *testing.T) {
	w := newWorld(t, Config{})
	other := w.second(Config{})
	service := w.service(alice)
	got := w.expect(alice, "POST", "/flowjet/v1/session", "", 200, `"administrator": false`)
	header := got.header.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "Path=/flowjet", "Max-Age=28800"} {
		if !strings.Contains(header, part) {
			t.Errorf("the cookie is %q, without %s", header, part)
		}
	}
	cookie := w.logIn(alice)
	for _, api := range []*world{w, other} {
		if got := api.call("", "GET", ownPrefix+service, "", "Cookie", cookie); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	}
	var me loginView
	w.must(json.Unmarshal([]byte(w.call("", "GET", "/flowjet/v1/session", "", "Cookie", cookie).body), &me))
	if me.User != "alice" || me.UID != 2 || me.Administrator {
		t.Errorf("got %+v", me)
	}
	if secret, err := w.oned.Box().Open(strings.TrimPrefix(cookie, loginCookie+"=")); err != nil || strings.Contains(string(secret), `"alice:alice"`) || strings.Count(string(secret), "alice") != 1 {
		t.Errorf("%v: the cookie holds %s", err, secret)
	}
	// OneFlow's paths know no cookies, and other sites cannot use them.
	if got := w.call("", "GET", service, "", "Cookie", cookie); got.status != 401 {
		t.Errorf("a path of OneFlow's: %+v", got)
	}
	rename := perform("rename", `{"name":"new"}`)
	for site, status := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 204} {
		if got := w.call("", "POST", ownPrefix+service+"/action", rename, "Cookie", cookie, "Sec-Fetch-Site", site); got.status != status {
			t.Errorf("%s: %+v", site, got)
		}
	}
	for _, bad := range []string{cookie[:len(cookie)-2], loginCookie + "=x", loginCookie + "=sealed:1:AAAA"} {
		if got := w.call("", "GET", "/flowjet/v1/session", "", "Cookie", bad); got.status != 401 {
			t.Errorf("%s: %+v", bad, got)
		}
	}
	if got := w.call("", "DELETE", "/flowjet/v1/session", "", "Cookie", cookie); got.status != 204 || !strings.Contains(got.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("got %+v", got)
	}
	w.expect("alice:wrong", "POST", "/flowjet/v1/session", "", 401, "")
}

func TestASessionEndsWithItsPassword(t *testing.T) {
	w := newWorld(t, Config{credentialTTL: time.Millisecond})
	cookie := w.logIn(alice)
	call, err := xmlrpc.EncodeMethodCall("one.user.passwd", admin, 2, "another")
	w.must(err)
	response, err := http.Post(w.sim.Endpoint(), "text/xml", bytes.NewReader(call))
	w.must(err)
	w.must(response.Body.Close())
	poll.Until(t, "the session to end", func() bool {
		return w.call("", "GET", "/flowjet/v1/session", "", "Cookie", cookie).status == 401
	})
}

// A session of a login token ends with the token, whatever the password does.
func TestASessionEndsWithItsToken(t *testing.T) {
	w := newWorld(t, Config{credentialTTL: time.Millisecond})
	call, err := xmlrpc.EncodeMethodCall("one.user.login", alice, "alice", "", 600, -1)
	w.must(err)
	ask := func(call []byte) string {
		response, err := http.Post(w.sim.Endpoint(), "text/xml", bytes.NewReader(call))
		w.must(err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		w.must(err)
		_, token, _ := strings.Cut(string(text), "<string>")
		token, _, _ = strings.Cut(token, "</string>")
		return token
	}
	token := ask(call)
	cookie := w.logIn("alice:" + token)
	if got := w.call("", "GET", "/flowjet/v1/session", "", "Cookie", cookie); got.status != 200 {
		t.Fatalf("got %+v", got)
	}
	revoke, err := xmlrpc.EncodeMethodCall("one.user.login", alice, "alice", token, 0, -1)
	w.must(err)
	ask(revoke)
	poll.Until(t, "the session to end", func() bool {
		return w.call("", "GET", "/flowjet/v1/session", "", "Cookie", cookie).status == 401
	})
}

// TestASessionEndsWithTheMembershipOrTheUser: oned does not check the group for which a server user acts, nor that the user is enabled.
func TestASessionEndsWithTheMembershipOrTheUser(t *testing.T) {
	for _, ending := range [][]any{{"one.user.delgroup", 2, 0}, {"one.user.enable", 2, false}, {"one.user.delete", 2}} {
		t.Run(ending[0].(string), func(t *testing.T) {
			w := newWorld(t, Config{credentialTTL: time.Millisecond})
			w.asAdmin("one.user.addgroup", 2, 0)
			w.asAdmin("one.user.login", "alice", "scoped-to-oneadmin", 600, 0)
			cookie := w.logIn("alice:scoped-to-oneadmin")
			work := func() int { return w.call("", "GET", "/flowjet/v1/work", "", "Cookie", cookie).status }
			if got := work(); got != 200 {
				t.Fatalf("a member of oneadmin's group got %d", got)
			}
			w.asAdmin(ending[0].(string), ending[1:]...)
			poll.Until(t, "the session to end", func() bool { return work() == 401 })
		})
	}
}

// asAdmin makes a call to oned as its administrator.
func (w *world) asAdmin(method string, arguments ...any) {
	w.t.Helper()
	client, err := xmlrpc.NewClient(w.sim.Endpoint(), nil)
	w.must(err)
	defer client.Close()
	var result []any
	w.must(client.Call(method, append([]any{admin}, arguments...), &result))
	if len(result) == 0 || result[0] != true {
		w.t.Fatalf("%s: %v", method, result)
	}
}

// Server users act for others with tokens of minutes: no session outlives those.
func TestServerUsersHaveNoSessions(t *testing.T) {
	w := newWorld(t, Config{})
	name, password, _ := strings.Cut(w.sim.ServerCredentials(), ":")
	w.expect(servertoken.Session(name, password, "alice", time.Now().Add(time.Minute)), "POST", "/flowjet/v1/session", "", 403, "the name and the password")
}

func TestWhatThePageReadsIsCompressed(t *testing.T) {
	w := newWorld(t, Config{})
	for range 5 {
		w.template(alice)
	}
	plain := w.call(alice, "GET", ownPrefix+"/service_template", "").body
	got := w.call(alice, "GET", ownPrefix+"/service_template", "", "Accept-Encoding", "gzip")
	unpacked, err := gzip.NewReader(strings.NewReader(got.body))
	w.must(err)
	text, err := io.ReadAll(unpacked)
	w.must(err)
	if string(text) != plain || len(got.body)*4 > len(plain) || got.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%d of %d bytes, %v", len(got.body), len(plain), got.header)
	}
	if got := w.call(alice, "GET", "/service_template", "", "Accept-Encoding", "gzip"); got.header.Get("Content-Encoding") != "" || got.header.Get("Vary") != "" {
		t.Errorf("OneFlow's path: %v", got.header)
	}
	if got := w.call("", "GET", "/", ""); got.status != 307 || got.header.Get("Location") != pageRoot {
		t.Errorf("/: %+v", got)
	}
}
