package sim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/servertoken"
	"github.com/flowjet/flowjet/sim"
)

// serverSession is a session of the server user, made as a front-end makes it.
func serverSession(credentials, target string, expiry time.Time) string {
	name, password, _ := strings.Cut(credentials, ":")
	return servertoken.Session(name, password, target, expiry)
}

// whoIs is the user a session acts for, "" where it is refused.
func whoIs(t testing.TB, s *sim.Sim, session string) string {
	t.Helper()
	r := call(t, s, "one.user.info", session, -1, false)
	if !r.ok {
		if r.code != 0x0100 {
			t.Fatalf("refused with %d: %s", r.code, r.text)
		}
		return ""
	}
	_, after, _ := strings.Cut(r.text, "<NAME>")
	name, _, _ := strings.Cut(after, "</NAME>")
	return name
}

func TestSessions(t *testing.T) {
	s := start(t, sim.Config{})
	server, soon := s.ServerCredentials(), time.Now().Add(time.Minute)
	_, password, _ := strings.Cut(server, ":")
	odd := must(t, s, "one.user.allocate", oneadmin, "a@b", "p%3A:w", "core").id(t)
	if odd != 3 {
		t.Errorf("the first new user has id %d", odd)
	}
	for name, password := range map[string]string{"a b": "p", "a:b": "p", "c": "p w"} {
		if r := call(t, s, "one.user.allocate", oneadmin, name, password, "core"); r.ok {
			t.Errorf("a user %q with the password %q was made", name, password)
		}
	}
	for session, want := range map[string]string{
		oneadmin:                               "oneadmin",
		"alice:alice":                          "alice",
		"alice:wrong":                          "",
		"nobody:alice":                         "",
		"alice":                                "",
		"":                                     "",
		"a@b:p%3A:w":                           "a@b",
		"a%40b:p%3A:w":                         "",
		"serveradmin:" + password:              "",
		serverSession(server, "alice", soon):   "alice",
		serverSession(server, "alice:1", soon): "alice",
		serverSession(server, "alice:0", soon): "alice",
		serverSession(server, "alice:x", soon): "",
		strings.Replace(serverSession(server, "alice", soon), ":alice:", ":alice:1:", 1):  "alice",
		serverSession(server, "nobody", soon):                                             "",
		serverSession(server, "serveradmin", soon):                                        "serveradmin",
		serverSession(server, "alice", time.Now()):                                        "",
		serverSession("serveradmin:guess", "alice", soon):                                 "",
		strings.Replace(serverSession(server, "alice", soon), ":alice:", ":oneadmin:", 1): "oneadmin",
		"serveradmin:alice:bm90IGEgdG9rZW4=":                                              "",
	} {
		if got := whoIs(t, s, session); got != want {
			t.Errorf("the session %q is %q, not %q", session, got, want)
		}
	}
}

func TestPasswordChange(t *testing.T) {
	s := start(t, sim.Config{})
	events := subscribe(t, s, "EVENT API one.user.")
	must(t, s, "one.user.passwd", "alice:alice", 2, "other")
	if whoIs(t, s, "alice:alice") != "" || whoIs(t, s, "alice:other") != "alice" {
		t.Error("the old password still counts, or the new one does not")
	}
	if r := call(t, s, "one.user.passwd", "alice:other", 0, "mine"); r.code != 0x0200 {
		t.Errorf("alice changed oneadmin's password: %s", r.raw)
	}
	events.await(t, "EVENT API one.user.passwd 1", 1)
	for _, m := range events.all() {
		if strings.Contains(m.body, "other") {
			t.Errorf("a password was published: %s", m.body)
		}
	}
}

// TestUsersWhoLeave: a server user may act for a user who is disabled, and for a group that the user has left, but not for a user who was deleted. What
// the user has stays, also where another user gets the name.
func TestUsersWhoLeave(t *testing.T) {
	s := start(t, sim.Config{})
	serverSession := serverSessionOf(t, s)
	must(t, s, "one.user.enable", oneadmin, 2, false)
	if whoIs(t, s, alice) != "" || whoIs(t, s, serverSession) != "alice" {
		t.Error("a disabled user is let in, or the server user is not for her")
	}
	must(t, s, "one.user.enable", oneadmin, 2, true)
	if whoIs(t, s, alice) != "alice" {
		t.Error("an enabled user is not let in")
	}
	must(t, s, "one.user.addgroup", oneadmin, 2, 0)
	if r := call(t, s, "one.user.delgroup", oneadmin, 2, 1); r.code != 0x0800 {
		t.Errorf("the primary group was left: %s", r.raw)
	}
	must(t, s, "one.user.delgroup", oneadmin, 2, 0)
	if r := call(t, s, "one.user.delgroup", oneadmin, 2, 0); r.code != 0x0800 {
		t.Errorf("a group was left twice: %s", r.raw)
	}
	if whoIs(t, s, strings.Replace(serverSession, ":alice:", ":alice:0:", 1)) != "alice" {
		t.Error("the server user cannot act for the group that was left")
	}
	for _, one := range [][]any{{"one.user.enable", alice, 2, false}, {"one.user.delete", alice, 2}, {"one.user.delgroup", alice, 2, 0}} {
		if r := call(t, s, one[0].(string), one[1:]...); r.code != 0x0200 {
			t.Errorf("alice did %s: %s", one[0], r.raw)
		}
	}
	id := must(t, s, "one.document.allocate", alice, "<TEMPLATE><NAME>d</NAME></TEMPLATE>", 100).id(t)
	must(t, s, "one.user.delete", oneadmin, 2)
	if whoIs(t, s, alice) != "" || whoIs(t, s, serverSession) != "" {
		t.Error("a deleted user is let in")
	}
	must(t, s, "one.user.allocate", oneadmin, "alice", "alice", "core")
	if r := call(t, s, "one.document.info", serverSession, id); r.code != 0x0200 {
		t.Errorf("another alice may use the first one's document: %s", r.raw)
	}
	if shown := must(t, s, "one.document.info", oneadmin, id).text; !strings.Contains(shown, "<UID>2</UID>") || !strings.Contains(shown, "<UNAME>alice</UNAME>") {
		t.Errorf("the document lost its owner: %s", shown)
	}
}

func TestLoginTokens(t *testing.T) {
	s := start(t, sim.Config{})
	must(t, s, "one.user.addgroup", oneadmin, 2, must(t, s, "one.group.allocate", oneadmin, "devs").id(t))
	token := must(t, s, "one.user.login", "alice:alice", "alice", "", 600, -1).text
	scoped := must(t, s, "one.user.login", "alice:alice", "alice", "", 600, 100).text
	if whoIs(t, s, "alice:"+token) != "alice" || whoIs(t, s, "alice:"+scoped) != "alice" {
		t.Fatal("a token does not let alice in")
	}
	info := must(t, s, "one.user.info", "alice:"+scoped, -1, false).text
	if !strings.Contains(info, "<LOGIN_TOKEN>") || !strings.Contains(info, "<EGID>100</EGID>") {
		t.Errorf("the scope of the token is not shown: %s", info)
	}
	text := "<TEMPLATE><NAME>d</NAME></TEMPLATE>"
	id := must(t, s, "one.document.allocate", "alice:"+scoped, text, 100).id(t)
	if shown := must(t, s, "one.document.info", oneadmin, id).text; !strings.Contains(shown, "<GID>100</GID>") {
		t.Errorf("a scoped token's document is not its group's: %s", shown)
	}
	if r := call(t, s, "one.user.login", "alice:alice", "alice", "", 600, 0); r.ok {
		t.Error("a token for a group that alice is not in")
	}
	must(t, s, "one.user.login", "alice:alice", "alice", token, 0, -1)
	if whoIs(t, s, "alice:"+token) != "" {
		t.Error("an ended token lets alice in")
	}
}

// serverSessionOf is a session in which the server user acts for alice.
func serverSessionOf(t testing.TB, s *sim.Sim) string {
	t.Helper()
	return serverSession(s.ServerCredentials(), "alice", time.Now().Add(time.Minute))
}
