package restapi

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
)

const (
	// refusedTTL is how long a refusal is remembered: long enough to relieve oned, short enough for a user who corrects a
	// password.
	refusedTTL = time.Second
	// maxChecks is how many requests may wait at once for checks of credentials that were not accepted before, and how many
	// for checks of those that were. Remembered credentials do not wait.
	maxChecks = 256
	// guessesAtOnce is how many of the former are checked at once, so that guessing passwords leaves connections to users
	// whose verdicts have expired.
	guessesAtOnce = 4
	// checkTimeout bounds a check with oned.
	checkTimeout = 15 * time.Second
)

var errBadCredentials = failure(http.StatusUnauthorized, "Invalid credentials")

type caller struct{ opennebula.User }

// target is the user as the server user names it in its sessions. A token that is scoped to a group keeps that group.
func (c caller) target() string {
	if c.Scoped {
		return c.Identity.UName + ":" + strconv.Itoa(c.EffectiveGID)
	}
	return c.Identity.UName
}

func (c caller) isAdmin() bool { return c.Identity.UID == 0 || c.EffectiveGID == 0 }

type authenticator struct {
	oned    sessions
	logins  *logins
	ttl     time.Duration
	max     int
	key     []byte
	metrics *metrics
	now     func() time.Time

	checks singleflight.Group
	// asking and renewing bound the checks of credentials that were never accepted, and that were accepted before; guessing
	// is held while one of the former is checked.
	asking, renewing, guessing chan struct{}

	mu       sync.Mutex
	verdicts map[fingerprint]verdict
}

// fingerprint is a digest of a name and a secret. It needs this process's key, so that passwords cannot be guessed from a
// memory image.
type fingerprint [sha256.Size]byte

type verdict struct {
	caller caller
	// refused is true if oned does not accept the credentials.
	refused bool
	expires time.Time
}

func newAuthenticator(users sessions, box *seal.Box, ttl time.Duration, most int, counts *metrics) *authenticator {
	return &authenticator{
		oned: users, logins: &logins{oned: users, box: box, sameOrigin: http.NewCrossOriginProtection()}, ttl: ttl, max: most, key: []byte(rand.Text()), metrics: counts, now: time.Now,
		verdicts: map[fingerprint]verdict{},
		asking:   make(chan struct{}, maxChecks), renewing: make(chan struct{}, maxChecks), guessing: make(chan struct{}, guessesAtOnce),
	}
}

// caller returns the user who sends the request: by Basic authentication, or below ownPrefix by the cookie of a login.
func (a *authenticator) caller(r *http.Request) (caller, error) {
	name, secret, given := r.BasicAuth()
	check := a.oned.authenticate
	if cookie, err := r.Cookie(loginCookie); err == nil && !given && isOwn(r) {
		if err := a.logins.sameOrigin.Check(r); err != nil {
			return caller{}, failure(http.StatusForbidden, "%v", err)
		}
		name, secret, check = loginCookie, cookie.Value, a.logins.check
	} else if name == "" || secret == "" {
		return caller{}, failure(http.StatusUnauthorized, "A username and password must be provided")
	}
	print := a.fingerprint(name, secret)
	found, fresh := a.recall(print)
	if fresh {
		a.metrics.checks.WithLabelValues("cached").Inc()
	} else {
		accepted := !found.expires.IsZero() && !found.refused
		var err error
		if found, err = a.ask(r.Context(), print, accepted, func(ctx context.Context) (opennebula.User, time.Time, error) { return check(ctx, name, secret) }); err != nil {
			return caller{}, err
		}
	}
	if found.refused {
		return caller{}, errBadCredentials
	}
	return found.caller, nil
}

func (a *authenticator) fingerprint(name, secret string) fingerprint {
	mac := hmac.New(sha256.New, a.key)
	// The length keeps "ab"+"c" and "a"+"bc" apart.
	fmt.Fprintf(mac, "%d:%s%s", len(name), name, secret)
	return fingerprint(mac.Sum(nil))
}

// recall returns the last verdict, zero if there was none, and whether it is still valid.
func (a *authenticator) recall(print fingerprint) (found verdict, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found = a.verdicts[print]
	return found, a.now().Before(found.expires)
}

// ask has oned check the credentials, once for all requests that wait for the same verdict. It continues when the client
// that asked first disconnects. Credentials that were accepted recently do not wait behind others.
func (a *authenticator) ask(ctx context.Context, print fingerprint, accepted bool, check func(context.Context) (opennebula.User, time.Time, error)) (verdict, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	waiting := a.asking
	if accepted {
		waiting = a.renewing
	}
	select {
	case waiting <- struct{}{}:
		defer func() { <-waiting }()
	default:
		return verdict{}, errManyChecks
	}
	found, err, _ := a.checks.Do(string(print[:]), func() (any, error) {
		// Another request may have stored a verdict in the meantime.
		if found, fresh := a.recall(print); fresh {
			return found, nil
		}
		if !accepted {
			select {
			case a.guessing <- struct{}{}:
				defer func() { <-a.guessing }()
			case <-ctx.Done():
				return verdict{}, errManyChecks
			}
		}
		user, ends, err := check(ctx)
		return a.judge(print, user, ends, err)
	})
	if err != nil {
		return verdict{}, err
	}
	return found.(verdict), nil
}

// errManyChecks is returned when credentials cannot be checked now.
var errManyChecks = busy(http.StatusServiceUnavailable, time.Second, "too many credentials are being checked; try again")

// judge turns oned's answer into a verdict, and keeps it no longer than the credentials are valid.
func (a *authenticator) judge(print fingerprint, user opennebula.User, ends time.Time, err error) (verdict, error) {
	made := verdict{caller: caller{user}, expires: a.now().Add(a.ttl)}
	if !ends.IsZero() && ends.Before(made.expires) {
		made.expires = ends
	}
	switch {
	case opennebula.IsCode(err, opennebula.CodeAuthentication) && !opennebula.Temporary(err):
		made = verdict{refused: true, expires: a.now().Add(min(refusedTTL, a.ttl))}
		a.metrics.checks.WithLabelValues("refused").Inc()
	case err != nil:
		a.metrics.checks.WithLabelValues("failed").Inc()
		return verdict{}, fmt.Errorf("the credentials cannot be checked: %w", err)
	default:
		a.metrics.checks.WithLabelValues("accepted").Inc()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	expired := func(known verdict) bool { return !a.now().Before(known.expires) }
	makeRoom(a.verdicts, a.max, func(known verdict) bool { return known.refused && expired(known) }, expired)
	a.verdicts[print] = made
	return made, nil
}

const (
	loginCookie = "flowjet_session"
	// loginLife is how long a login lasts.
	loginLife = 8 * time.Hour
)

// login is the content of a session's cookie, sealed: no password and no token, but a digest by which the session ends with
// them.
type login struct {
	// User is the user's name, with the group of a scoped token.
	User  string    `json:"user"`
	Proof string    `json:"proof"`
	Ends  time.Time `json:"ends"`
}

// logins are the page's sessions. They exist only in the browsers' cookies, sealed with a key that all APIs of a zone
// share.
type logins struct {
	oned sessions
	box  *seal.Box
	// sameOrigin refuses changes that other sites make a browser send with its cookie.
	sameOrigin *http.CrossOriginProtection
}

// check returns the user of a cookie's value, and when the login ends. A login that has ended gives an error with
// CodeAuthentication, as refused credentials do.
func (l *logins) check(ctx context.Context, _, cookie string) (opennebula.User, time.Time, error) {
	ended := &opennebula.Error{Method: "login", Code: opennebula.CodeAuthentication, Message: "the session has ended"}
	var held login
	text, err := l.box.Open(cookie)
	if err != nil || json.Unmarshal(text, &held) != nil || !time.Now().Before(held.Ends) {
		return opennebula.User{}, time.Time{}, ended
	}
	user, err := l.oned.as(held.User, opennebula.Guard{}).User(ctx, -1)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return opennebula.User{}, time.Time{}, ended
	case err != nil:
		return opennebula.User{}, time.Time{}, err
	case !user.Holds(held.Proof, time.Now()):
		return opennebula.User{}, time.Time{}, ended
	}
	return user, held.Ends, nil
}

type loginView struct {
	User  string `json:"user"`
	UID   int    `json:"uid"`
	Group string `json:"group"`
	// Administrator is true for oneadmin and members of its group.
	Administrator bool `json:"administrator"`
}

func showLogin(_ context.Context, r *request) (answer, error) {
	who := r.caller
	return pretty(http.StatusOK, loginView{who.Identity.UName, who.Identity.UID, who.Identity.GName, who.isAdmin()})
}

// begin starts a session from Basic authentication, for users who log in as themselves.
func (l *logins) begin(ctx context.Context, r *request) (answer, error) {
	name, secret, given := r.BasicAuth()
	if !given || name != r.caller.Identity.UName {
		return answer{}, failure(http.StatusForbidden, "a session needs the name and the password or token of the user, not of a server user")
	}
	user, err := r.oned.User(ctx, -1)
	if err != nil {
		return answer{}, err
	}
	text, _ := json.Marshal(login{r.caller.target(), user.Proof(secret), time.Now().Add(loginLife)}) // plain values
	reply, err := showLogin(ctx, r)
	reply.cookie = l.cookie(r.Request, l.box.Seal(text), loginLife)
	return reply, err
}

func (l *logins) end(w http.ResponseWriter, r *http.Request) error {
	if err := l.sameOrigin.Check(r); err != nil {
		return failure(http.StatusForbidden, "%v", err)
	}
	answer{status: http.StatusNoContent, cookie: l.cookie(r, "", -time.Second)}.write(w, r)
	return nil
}

func (l *logins) cookie(r *http.Request, value string, life time.Duration) *http.Cookie {
	return &http.Cookie{
		Name: loginCookie, Value: value, Path: "/flowjet", MaxAge: int(life / time.Second), HttpOnly: true, SameSite: http.SameSiteStrictMode,
		// A load balancer in front may terminate TLS.
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}
