package restapi

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
)

const (
	// refusedTTL is for how long a refusal is remembered: long enough to take
	// the weight off oned, short enough for a user who corrects a password.
	refusedTTL = time.Second
	// maxChecks is how many requests may wait at once for checks of credentials that were not
	// accepted before, and as many of those that were. Those with remembered credentials do
	// not wait.
	maxChecks = 256
	// guessesAtOnce is how many of the former oned is asked about at once: whoever guesses
	// passwords leaves connections to those whose verdicts have expired.
	guessesAtOnce = 4
	// checkTimeout bounds a check with oned.
	checkTimeout = 15 * time.Second
)

var (
	errNoCredentials  = &statusError{http.StatusUnauthorized, "A username and password must be provided"}
	errBadCredentials = &statusError{http.StatusUnauthorized, "Invalid credentials"}
)

// caller is a user whose credentials oned has accepted.
type caller struct{ opennebula.User }

// target is how the server user names the caller in its sessions. A token that
// is scoped to a group keeps that group.
func (c caller) target() string {
	if c.Scoped {
		return c.Identity.UName + ":" + strconv.Itoa(c.EffectiveGID)
	}
	return c.Identity.UName
}

// isAdmin reports whether the caller is oneadmin or acts in the oneadmin group.
func (c caller) isAdmin() bool { return c.Identity.UID == 0 || c.EffectiveGID == 0 }

// authenticator checks credentials with oned and remembers the verdicts.
type authenticator struct {
	oned    sessions
	logins  *logins
	ttl     time.Duration
	max     int
	key     []byte
	metrics *metrics
	now     func() time.Time

	checks singleflight.Group
	// asking and renewing bound the checks of credentials that were not, and that were
	// accepted before; guessing is had while oned is asked about one of the former.
	asking, renewing, guessing chan struct{}

	mu       sync.Mutex
	verdicts map[fingerprint]verdict
}

// fingerprint stands for a name and a secret. Without this process's key it
// cannot be made, so that guesses cannot be tried on a memory image.
type fingerprint [sha256.Size]byte

type verdict struct {
	caller caller
	// refused is true if oned does not accept the credentials.
	refused bool
	expires time.Time
}

func newAuthenticator(users sessions, box *seal.Box, ttl time.Duration, most int, counts *metrics) (*authenticator, error) {
	key := make([]byte, sha256.Size)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("create a key for the cache of credentials: %w", err)
	}
	return &authenticator{
		oned: users, logins: &logins{oned: users, box: box, sameOrigin: http.NewCrossOriginProtection()}, ttl: ttl, max: most, key: key, metrics: counts, now: time.Now,
		verdicts: map[fingerprint]verdict{},
		asking:   make(chan struct{}, maxChecks), renewing: make(chan struct{}, maxChecks), guessing: make(chan struct{}, guessesAtOnce),
	}, nil
}

// caller returns the user who sends the request: by Basic authentication, or below
// ownPrefix by the cookie of a login.
func (a *authenticator) caller(r *http.Request) (caller, error) {
	name, secret, given := r.BasicAuth()
	if cookie, err := r.Cookie(loginCookie); err == nil && !given && isOwn(r) {
		if err := a.logins.sameOrigin.Check(r); err != nil {
			return caller{}, &statusError{http.StatusForbidden, err.Error()}
		}
		return a.verified(r.Context(), a.fingerprint(loginCookie, cookie.Value), func(ctx context.Context) (opennebula.User, time.Time, error) {
			return a.logins.check(ctx, cookie.Value)
		})
	}
	if !given || name == "" || secret == "" {
		return caller{}, errNoCredentials
	}
	return a.verified(r.Context(), a.fingerprint(name, secret), func(ctx context.Context) (opennebula.User, time.Time, error) {
		return a.oned.authenticate(ctx, name, secret)
	})
}

// credentialCheck returns the user of credentials, and when they end.
type credentialCheck func(ctx context.Context) (opennebula.User, time.Time, error)

// verified returns the user of a check's verdict, which may be remembered.
func (a *authenticator) verified(ctx context.Context, print fingerprint, check credentialCheck) (caller, error) {
	found, fresh := a.recall(print)
	if fresh {
		a.metrics.checks.WithLabelValues("cached").Inc()
	} else {
		accepted := !found.expires.IsZero() && !found.refused
		var err error
		if found, err = a.ask(ctx, print, check, accepted); err != nil {
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

// recall returns the last verdict, zero if there was none, and whether it still stands.
func (a *authenticator) recall(print fingerprint) (found verdict, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found = a.verdicts[print]
	return found, !a.expired(found)
}

func (a *authenticator) expired(found verdict) bool { return !a.now().Before(found.expires) }

// ask has oned check the credentials, once for all requests that wait for the
// same verdict. It goes on when the client that asked first has gone. Credentials that were
// accepted not long ago do not wait behind others.
func (a *authenticator) ask(ctx context.Context, print fingerprint, check credentialCheck, accepted bool) (verdict, error) {
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
		// A verdict may have come in since it was looked for.
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

// errManyChecks turns away a request whose credentials cannot be checked now.
var errManyChecks = &busyError{http.StatusServiceUnavailable, time.Second, "too many credentials are being checked; try again"}

// judge makes a verdict of oned's answer, and keeps it no longer than the credentials are valid.
func (a *authenticator) judge(print fingerprint, user opennebula.User, ends time.Time, err error) (verdict, error) {
	made := verdict{caller: caller{user}, expires: a.now().Add(a.ttl)}
	if !ends.IsZero() && ends.Before(made.expires) {
		made.expires = ends
	}
	switch {
	case opennebula.IsCode(err, opennebula.CodeAuthentication):
		made = verdict{refused: true, expires: a.now().Add(min(refusedTTL, a.ttl))}
		a.metrics.checks.WithLabelValues("refused").Inc()
	case err != nil:
		a.metrics.checks.WithLabelValues("failed").Inc()
		return verdict{}, fmt.Errorf("check the credentials: %w", err)
	default:
		a.metrics.checks.WithLabelValues("accepted").Inc()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.makeRoom()
	a.verdicts[print] = made
	return made, nil
}

// makeRoom drops what has expired when the cache is full, refusals first, and if that is not
// enough anything: to be dropped costs one more check.
func (a *authenticator) makeRoom() {
	if len(a.verdicts) < a.max {
		return
	}
	maps.DeleteFunc(a.verdicts, func(_ fingerprint, known verdict) bool { return known.refused && a.expired(known) })
	if len(a.verdicts) >= a.max {
		maps.DeleteFunc(a.verdicts, func(_ fingerprint, known verdict) bool { return a.expired(known) })
	}
	for print := range a.verdicts {
		if len(a.verdicts) < a.max {
			return
		}
		delete(a.verdicts, print)
	}
}
