package restapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/servertoken"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// fakeOned knows one user, bob with the secret "right", and counts who asks.
type fakeOned struct {
	session
	checks atomic.Int32
	down   atomic.Bool
	hold   chan struct{}
	guess  chan struct{} // holds the checks of wrong secrets
	scoped int
	ends   time.Time
}

func (f *fakeOned) server() session                         { return f }
func (f *fakeOned) as(string, opennebula.Guard) session     { return f }
func (f *fakeOned) confirmed(string) session                { return f }
func (f *fakeOned) Version(context.Context) (string, error) { return "7.4.0", nil }

func (f *fakeOned) authenticate(_ context.Context, _, secret string) (opennebula.User, time.Time, error) {
	f.checks.Add(1)
	if f.hold != nil {
		<-f.hold
	}
	if f.guess != nil && secret != "right" {
		<-f.guess
	}
	if f.down.Load() {
		return opennebula.User{}, time.Time{}, &opennebula.TransportError{Method: "one.user.info", Err: errors.New("connection refused")}
	}
	if secret != "right" {
		return opennebula.User{}, time.Time{}, &opennebula.Error{Method: "one.user.info", Code: opennebula.CodeAuthentication, Message: "no"}
	}
	bob := opennebula.User{Identity: one.Identity{UID: 7, GID: 1, UName: "bob"}, EffectiveGID: max(f.scoped, 1), Scoped: f.scoped > 0}
	return bob, f.ends, nil
}

func asking(secret string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/service", http.NoBody)
	r.SetBasicAuth("bob", secret)
	return r
}

func newTestAuthenticator(t *testing.T, users *fakeOned, most int) (*authenticator, *time.Time) {
	t.Helper()
	g := newAuthenticator(users, testBox, 10*time.Second, most, newMetrics(nil, nil))
	now := time.Unix(1_800_000_000, 0)
	g.now = func() time.Time { return now }
	return g, &now
}

func TestVerdictsAreRememberedForAWhile(t *testing.T) {
	users := &fakeOned{}
	g, now := newTestAuthenticator(t, users, 10)
	steps := []struct {
		secret string
		after  time.Duration
		fails  bool
		checks int32
	}{
		{"right", 0, false, 1},
		{"right", 9 * time.Second, false, 1},
		{"right", 2 * time.Second, false, 2},
		{"wrong", 0, true, 3},
		{"wrong", 900 * time.Millisecond, true, 3},
		{"wrong", 200 * time.Millisecond, true, 4},
	}
	for i, step := range steps {
		*now = now.Add(step.after)
		who, err := g.caller(asking(step.secret))
		if (err != nil) != step.fails || users.checks.Load() != step.checks {
			t.Errorf("step %d: %v after %d checks", i, err, users.checks.Load())
		}
		if err == nil && who.Identity.UName != "bob" {
			t.Errorf("step %d: %+v", i, who)
		}
		if err != nil && err.Error() != "Invalid credentials" {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

func TestMissingCredentials(t *testing.T) {
	g, _ := newTestAuthenticator(t, &fakeOned{}, 10)
	bare := httptest.NewRequest(http.MethodGet, "/service", http.NoBody)
	odd := httptest.NewRequest(http.MethodGet, "/service", http.NoBody)
	odd.Header.Set("Authorization", "Bearer x")
	for _, r := range []*http.Request{bare, odd, asking("")} {
		if _, err := g.caller(r); err == nil || err.Error() != "A username and password must be provided" || statusOf(err, false) != 401 {
			t.Errorf("got %v", err)
		}
	}
}

func TestAFailedCheckIsNoVerdict(t *testing.T) {
	users := &fakeOned{}
	users.down.Store(true)
	g, _ := newTestAuthenticator(t, users, 10)
	if _, err := g.caller(asking("right")); statusOf(err, false) != 503 {
		t.Errorf("got %v", err)
	}
	users.down.Store(false)
	if _, err := g.caller(asking("right")); err != nil {
		t.Error(err)
	}
}

func TestTheCacheIsBoundedAndHoldsNoSecret(t *testing.T) {
	g, _ := newTestAuthenticator(t, &fakeOned{}, 5)
	for i := range 50 {
		_, _ = g.caller(asking(fmt.Sprintf("guess-%d", i)))
	}
	if _, err := g.caller(asking("right")); err != nil {
		t.Error(err)
	}
	if len(g.verdicts) > 5 {
		t.Errorf("%d verdicts are kept", len(g.verdicts))
	}
	if text := fmt.Sprintf("%+v", g.verdicts); strings.Contains(text, "guess") || strings.Contains(text, "right") {
		t.Errorf("a secret is in %s", text)
	}
	other := newAuthenticator(&fakeOned{}, testBox, time.Second, 5, newMetrics(nil, nil))
	if g.fingerprint("a", "b") == other.fingerprint("a", "b") || g.fingerprint("ab", "c") == g.fingerprint("a", "bc") {
		t.Error("fingerprints can be made elsewhere, or are the same for different credentials")
	}
}

// Whoever guesses passwords, as many at once as are let wait, keeps nobody out whose credentials
// were accepted before, and leaves connections to oned.
func TestGuessesKeepNobodyOut(t *testing.T) {
	users := &fakeOned{guess: make(chan struct{})}
	g, now := newTestAuthenticator(t, users, 1000)
	if _, err := g.caller(asking("right")); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Minute)
	var guesses sync.WaitGroup
	defer guesses.Wait()
	defer close(users.guess)
	for i := range maxChecks {
		guesses.Go(func() { _, _ = g.caller(asking(fmt.Sprintf("guess-%d", i))) })
	}
	poll.Until(t, "the guesses to wait", func() bool { return len(g.asking) == maxChecks && len(g.guessing) == guessesAtOnce })
	if _, err := g.caller(asking("one more")); statusOf(err, false) != http.StatusServiceUnavailable {
		t.Errorf("one guess more: %v", err)
	}
	if _, err := g.caller(asking("right")); err != nil {
		t.Errorf("a user of before: %v", err)
	}
	if asked := users.checks.Load(); asked > 2+guessesAtOnce {
		t.Errorf("oned is asked about %d credentials", asked)
	}
}

// What was refused makes room in the cache before what was accepted.
func TestGuessesDoNotPushUsersOut(t *testing.T) {
	g, now := newTestAuthenticator(t, &fakeOned{}, 10)
	if _, err := g.caller(asking("right")); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Minute)
	for i := range 50 {
		_, _ = g.caller(asking(fmt.Sprintf("guess-%d", i)))
		*now = now.Add(time.Minute)
	}
	if found, _ := g.recall(g.fingerprint("bob", "right")); found.caller.Identity.UName != "bob" {
		t.Error("the user is forgotten")
	}
}

func TestManyAtOnceAreOneCheck(t *testing.T) {
	users := &fakeOned{hold: make(chan struct{})}
	g, _ := newTestAuthenticator(t, users, 10)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := g.caller(asking("right")); err != nil {
				t.Error(err)
			}
		})
	}
	close(users.hold)
	all.Wait()
	// Who comes after the first verdict finds it; who comes before shares it.
	if n := users.checks.Load(); n != 1 {
		t.Errorf("oned was asked %d times", n)
	}
}

func TestAClientThatGoesAwayDoesNotSpoilTheVerdict(t *testing.T) {
	users := &fakeOned{}
	g, _ := newTestAuthenticator(t, users, 10)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.caller(asking("right").WithContext(gone)); err != nil {
		t.Error(err)
	}
}

func TestAVerdictLastsNoLongerThanTheCredentials(t *testing.T) {
	users := &fakeOned{}
	g, now := newTestAuthenticator(t, users, 10)
	users.ends = now.Add(3 * time.Second)
	for i, step := range []struct {
		after  time.Duration
		checks int32
	}{{0, 1}, {2 * time.Second, 1}, {time.Second, 2}} {
		*now = now.Add(step.after)
		if _, err := g.caller(asking("right")); err != nil || users.checks.Load() != step.checks {
			t.Errorf("step %d: %v after %d checks", i, err, users.checks.Load())
		}
	}
}

func TestAScopedTokenKeepsItsGroup(t *testing.T) {
	for _, group := range []int{105, 1} {
		g, _ := newTestAuthenticator(t, &fakeOned{scoped: group}, 10)
		who, err := g.caller(asking("right"))
		if want := fmt.Sprintf("bob:%d", group); err != nil || who.target() != want {
			t.Errorf("got %q, %v, want %q", who.target(), err, want)
		}
	}
	if plain := (caller{opennebula.User{Identity: one.Identity{GID: 1, UName: "bob"}, EffectiveGID: 1}}); plain.target() != "bob" {
		t.Errorf("got %q", plain.target())
	}
}

// TestCredentialsWithEmoji has credentials that oned could not read as they are.
func TestCredentialsWithEmoji(t *testing.T) {
	w := newWorld(t, Config{})
	w.expect("😀:wrong-secret", "GET", "/service", "", 401, "Invalid credentials")
	w.expect("alice:wrong-😀", "GET", "/service", "", 401, "Invalid credentials")
}

// TestCredentialsWithRealSessions is the same over the simulator's XML-RPC.
func TestCredentialsWithRealSessions(t *testing.T) {
	w := newWorld(t, Config{})
	for range 5 {
		w.expect(admin, "GET", "/service", "", 200, "DOCUMENT_POOL")
	}
	w.expect("oneadmin:wrong-secret", "GET", "/service", "", 401, "Invalid credentials")
	w.expect("nobody:wrong-secret", "GET", "/service", "", 401, "Invalid credentials")
	w.expect("", "GET", "/service", "", 401, "A username and password must be provided")
	// What does not match the hash that oned shows is for oned to judge.
	if n := w.sim.CallCounts()["one.user.info"]; n != 1+2+2 {
		t.Errorf("oned checked credentials %d times", n)
	}
	if log := w.log.String(); strings.Contains(log, "wrong-secret") || strings.Contains(log, "opennebula\"") {
		t.Errorf("a secret is in the log: %s", log)
	}
}

// OneGate and Sunstone log in as a server user who acts for another.
func TestServerUsersActForOthers(t *testing.T) {
	w := newWorld(t, Config{})
	alices := w.service(alice)
	server := func(target string) string {
		name, password, _ := strings.Cut(w.sim.ServerCredentials(), ":")
		return servertoken.Session(name, password, target, time.Now().Add(time.Minute))
	}
	for range 3 {
		w.expect(server("alice"), "GET", alices, "", 200, `"UNAME": "alice"`)
	}
	w.expect(server("oneadmin"), "GET", alices, "", 200, "")
	_, token, _ := strings.Cut(server("alice"), "alice:")
	w.expect("serveradmin:oneadmin:"+token, "GET", alices, "", 401, "Invalid credentials")
	w.expect("serveradmin:"+token, "GET", alices, "", 401, "Invalid credentials")
	w.expect(server("nobody"), "GET", alices, "", 401, "Invalid credentials")
	secret := w.template(admin)
	w.expect(server("alice"), "GET", secret, "", 401, "")
	w.expect(server("oneadmin"), "GET", secret, "", 200, "")
	if strings.Contains(w.log.String(), token) {
		t.Error("a token is in the log")
	}
}

// A zone without a leader is no failure of the request's: it can be sent again in a moment.
func TestAZoneWithoutALeaderIsToBeAskedAgain(t *testing.T) {
	w := newWorld(t, Config{})
	service, template := w.service(admin), w.template(admin)
	for _, reason := range []string{
		"Cannot process request, no leader found", "Cannot process request, oned cluster in election mode", "Cannot process request, oned cluster is replicating log",
		"libcurl failed to execute the HTTP POST transaction, explaining: Failed to connect to 10.0.0.2 port 2633",
	} {
		for _, call := range []struct{ method, method2, path, body string }{
			{"one.document.info", "GET", service, ""},
			{"one.document.rename", "POST", service + "/action", perform("rename", `{"name":"x"}`)},
			{"one.document.rename", "POST", template + "/action", perform("rename", `{"name":"x"}`)},
			{"one.document.allocate", "POST", "/service_template", twoRoles},
		} {
			w.must(w.sim.FailCall(sim.CallFailure{Method: call.method, Count: 100, Message: reason}))
			got := w.call(admin, call.method2, call.path, call.body)
			w.sim.ClearFaults()
			if got.status != 503 || got.header.Get("Retry-After") == "" {
				t.Errorf("%s at %s: %d %q, Retry-After %q", reason, call.method, got.status, got.body, got.header.Get("Retry-After"))
			}
		}
	}
}

// While oned refuses the server user, whose password was changed at oned alone, requests can be repeated later; a user whom oned refuses while
// it accepts the server user gets OneFlow's answer.
func TestARefusedServerUserIsNoRefusalOfTheUser(t *testing.T) {
	w := newWorld(t, Config{})
	service, cookie := w.service(alice), w.logIn(alice)
	w.must(w.sim.FailCall(sim.CallFailure{Method: "one.document.info", Count: 1, Code: opennebula.CodeAuthentication, Message: "User couldn't be authenticated, aborting call."}))
	w.expect(alice, "GET", service, "", 403, "User couldn't be authenticated")
	right, err := opennebula.ParseCredentials(w.sim.ServerCredentials())
	w.must(err)
	_, err = w.oned.Renew(opennebula.Credentials{User: right.User, Password: "changed"})
	w.must(err)
	for _, got := range []reply{
		w.call(alice, "GET", service, ""),
		w.call(alice, "POST", service+"/action", perform("rename", `{"name":"x"}`)),
		w.call(admin, "POST", "/service_template", twoRoles),
		w.call("", "GET", ownPrefix+service, "", "Cookie", cookie),
	} {
		if got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "oned refuses the server user serveradmin") || !strings.Contains(got.body, "one.auth_file") {
			t.Errorf("%d %q, Retry-After %q", got.status, got.body, got.header.Get("Retry-After"))
		}
	}
	w.expect("alice:wrong", "GET", service, "", 401, "Invalid credentials")
	w.expect("", "GET", "/flowjet/v1/health", "", 503, `"oned refuses the server user serveradmin`)
	_, err = w.oned.Renew(right)
	w.must(err)
	w.expect(alice, "GET", service, "", 200, "")
}
