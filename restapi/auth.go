package restapi

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/flowjet/flowjet/opennebula"
)

const (
	// refusedTTL is for how long a refusal is remembered: long enough to take
	// the weight off oned, short enough for who corrects a password.
	refusedTTL = time.Second
	// maxChecks is how many requests wait for checks with oned at once. Those whose
	// credentials were checked lately wait for none.
	maxChecks = 256
	// checkTimeout bounds a check with oned.
	checkTimeout = 15 * time.Second
)

var (
	errNoCredentials  = &statusError{http.StatusUnauthorized, "A username and password must be provided"}
	errBadCredentials = &statusError{http.StatusUnauthorized, "Invalid credentials"}
)

// caller is a user whom oned has vouched for.
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

// gate checks credentials with oned and remembers the verdicts.
type gate struct {
	oned    sessions
	ttl     time.Duration
	max     int
	key     []byte
	metrics *metrics
	now     func() time.Time

	checks singleflight.Group
	// asking bounds how many checks are made at once.
	asking chan struct{}

	mu       sync.Mutex
	verdicts map[fingerprint]verdict
}

// fingerprint stands for a name and a secret. Without this process's key it
// cannot be made, so that guesses cannot be tried on a memory image.
type fingerprint [sha256.Size]byte

type verdict struct {
	caller caller
	// refused reports whether oned does not accept the credentials.
	refused bool
	expires time.Time
}

func newGate(users sessions, ttl time.Duration, most int, counts *metrics) (*gate, error) {
	key := make([]byte, sha256.Size)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make a key for the cache of credentials: %w", err)
	}
	return &gate{
		oned: users, ttl: ttl, max: most, key: key, metrics: counts, now: time.Now,
		verdicts: map[fingerprint]verdict{}, asking: make(chan struct{}, maxChecks),
	}, nil
}

// caller is who sends the request.
func (g *gate) caller(r *http.Request) (caller, error) {
	name, secret, given := r.BasicAuth()
	if !given || name == "" || secret == "" {
		return caller{}, errNoCredentials
	}
	print := g.fingerprint(name, secret)
	found, known := g.recall(print)
	if known {
		g.metrics.checks.WithLabelValues("cached").Inc()
	} else {
		var err error
		if found, err = g.ask(r.Context(), print, name, secret); err != nil {
			return caller{}, err
		}
	}
	if found.refused {
		return caller{}, errBadCredentials
	}
	return found.caller, nil
}

func (g *gate) fingerprint(name, secret string) fingerprint {
	mac := hmac.New(sha256.New, g.key)
	// The length keeps "ab"+"c" and "a"+"bc" apart.
	fmt.Fprintf(mac, "%d:%s%s", len(name), name, secret)
	return fingerprint(mac.Sum(nil))
}

func (g *gate) recall(print fingerprint) (verdict, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	found, known := g.verdicts[print]
	return found, known && g.now().Before(found.expires)
}

// ask has oned check the credentials, once for all who wait for the same
// verdict. It goes on when the client that asked first has gone.
func (g *gate) ask(ctx context.Context, print fingerprint, name, secret string) (verdict, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	select {
	case g.asking <- struct{}{}:
		defer func() { <-g.asking }()
	default:
		return verdict{}, &busyError{http.StatusServiceUnavailable, time.Second, "too many credentials are being checked already; try again"}
	}
	found, err, _ := g.checks.Do(string(print[:]), func() (any, error) {
		// Who missed the verdict by a hair finds it here.
		if found, known := g.recall(print); known {
			return found, nil
		}
		user, ends, err := g.oned.authenticate(ctx, name, secret)
		return g.judge(print, user, ends, err)
	})
	if err != nil {
		return verdict{}, err
	}
	return found.(verdict), nil
}

// judge makes a verdict of oned's answer, and remembers it, though not for longer than the credentials last.
func (g *gate) judge(print fingerprint, user opennebula.User, ends time.Time, err error) (verdict, error) {
	made := verdict{caller: caller{user}, expires: g.now().Add(g.ttl)}
	if !ends.IsZero() && ends.Before(made.expires) {
		made.expires = ends
	}
	switch {
	case opennebula.IsCode(err, opennebula.CodeAuthentication):
		made = verdict{refused: true, expires: g.now().Add(min(refusedTTL, g.ttl))}
		g.metrics.checks.WithLabelValues("refused").Inc()
	case err != nil:
		g.metrics.checks.WithLabelValues("failed").Inc()
		return verdict{}, fmt.Errorf("check the credentials: %w", err)
	default:
		g.metrics.checks.WithLabelValues("accepted").Inc()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.makeRoom()
	g.verdicts[print] = made
	return made, nil
}

// makeRoom drops what has expired when the cache is full, and if that is not
// enough anything: to be dropped costs one more check.
func (g *gate) makeRoom() {
	if len(g.verdicts) < g.max {
		return
	}
	now := g.now()
	for print, known := range g.verdicts {
		if !now.Before(known.expires) {
			delete(g.verdicts, print)
		}
	}
	for print := range g.verdicts {
		if len(g.verdicts) < g.max {
			return
		}
		delete(g.verdicts, print)
	}
}
