package opennebula_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/servertoken"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// secretFor is what a front-end with a server user's password sends as the password: "<target>:<token>".
func secretFor(server, target string, expires time.Time) string {
	name, password, _ := strings.Cut(server, ":")
	return strings.TrimPrefix(servertoken.Session(name, password, target, expires), name+":")
}

// lab is the simulator with another server user than Flowjet's, and a user in two groups.
func lab(t *testing.T) (oned *sim.Sim, client *opennebula.Client, server string) {
	t.Helper()
	oned, client = simulated(t)
	admin := client.With("oneadmin", "opennebula")
	for _, call := range [][]any{
		{"one.user.allocate", "gate", "gate-secret", "server_cipher"},
		{"one.user.allocate", "a@corp", "p%3A:w", "core"},
		{"one.group.allocate", "devs"},
		{"one.user.addgroup", 2, 100},
	} {
		must(t, opennebula.Call(t.Context(), admin, call[0].(string), call[1:]...))
	}
	return oned, client, oned.ServerCredentials()
}

func TestAuthenticate(t *testing.T) {
	_, client, ours := lab(t)
	const other = "gate:gate-secret"
	soon, ages := time.Now().Add(time.Minute).Truncate(time.Second), time.Unix(999_999_999_999, 0)
	genuine := secretFor(ours, "alice", soon)
	tampered := []byte(genuine)
	tampered[len("alice:")+3] ^= 1
	for _, c := range []struct {
		why, name, secret, user string
		group                   int
		scoped                  bool
	}{
		{"a password", "alice", "alice", "alice", 1, false},
		{"a password with a colon and a percent sign", "a@corp", "p%3A:w", "a@corp", 1, false},
		{"a wrong password", "alice", "wrong", "", 0, false},
		{"a password with blanks", "alice", "a b", "", 0, false},
		{"our server user's token", "serveradmin", genuine, "alice", 1, false},
		{"the same for oneadmin", "serveradmin", secretFor(ours, "oneadmin", soon), "oneadmin", 0, false},
		{"the longest expiry", "serveradmin", secretFor(ours, "alice", ages), "alice", 1, false},
		{"a scoped target", "serveradmin", secretFor(ours, "alice:100", soon), "alice", 100, true},
		{"a target scoped to the primary group", "serveradmin", secretFor(ours, "alice:1", soon), "alice", 1, true},
		{"a target scoped to a group of others", "serveradmin", secretFor(ours, "alice:0", soon), "", 0, false},
		{"another target than the token's", "serveradmin", strings.Replace(genuine, "alice", "oneadmin", 1), "", 0, false},
		{"a group beside the token", "serveradmin", strings.Replace(genuine, "alice", "alice:100", 1), "alice", 100, true},
		{"a group of others beside the token", "serveradmin", strings.Replace(genuine, "alice", "alice:0", 1), "", 0, false},
		{"another group than the token's", "serveradmin", strings.Replace(secretFor(ours, "alice:100", soon), ":100", ":1", 1), "", 0, false},
		{"the group of the token left out", "serveradmin", strings.Replace(secretFor(ours, "alice:100", soon), ":100", "", 1), "", 0, false},
		{"an expired token", "serveradmin", secretFor(ours, "alice", time.Now()), "", 0, false},
		{"a changed token", "serveradmin", string(tampered), "", 0, false},
		{"a token cut short", "serveradmin", genuine[:len(genuine)-8], "", 0, false},
		{"no token", "serveradmin", "alice:", "", 0, false},
		{"the server user's password", "serveradmin", strings.TrimPrefix(ours, "serveradmin:"), "", 0, false},
		{"another password's token", "serveradmin", secretFor("serveradmin:guess", "alice", soon), "", 0, false},
		{"another server user's token", "serveradmin", secretFor(other, "alice", soon), "", 0, false},
		{"a user who is not there", "serveradmin", secretFor(ours, "nobody", soon), "", 0, false},
		{"another server user", "gate", secretFor(other, "alice", soon), "alice", 1, false},
		{"another server user for a scoped target", "gate", secretFor(other, "alice:100", soon), "alice", 100, true},
		{"another server user for a group of others", "gate", secretFor(other, "alice:0", soon), "", 0, false},
		{"another server user for itself", "gate", secretFor(other, "gate", soon), "gate", 1, false},
		{"another server user, expired", "gate", secretFor(other, "alice", time.Now()), "", 0, false},
		{"a user's password before a target", "alice", secretFor(ours, "oneadmin", soon), "", 0, false},
	} {
		user, ends, err := client.Authenticate(t.Context(), c.name, c.secret)
		if c.user == "" {
			if !opennebula.IsCode(err, opennebula.CodeAuthentication) {
				t.Errorf("%s: got %+v, %v", c.why, user, err)
			}
			continue
		}
		if err != nil || user.Identity.UName != c.user || user.EffectiveGID != c.group || user.Scoped != c.scoped {
			t.Errorf("%s: got %+v, %v", c.why, user, err)
		}
		if known := !ends.IsZero(); known != (c.name == "serveradmin") || known && !ends.Equal(soon) && !ends.Equal(ages) {
			t.Errorf("%s: ends %v", c.why, ends)
		}
	}
}

// A check of our own server user's token makes no call in another session than Flowjet's own for the user, each of which
// would cost oned an auth driver.
func TestOurServerUserIsCheckedHere(t *testing.T) {
	oned, client, server := lab(t)
	before := oned.CallCounts()["one.user.info"]
	for i := range 20 {
		secret := secretFor(server, "alice", time.Now().Add(time.Duration(i+1)*time.Minute))
		if _, _, err := client.Authenticate(t.Context(), "serveradmin", secret); err != nil {
			t.Fatal(err)
		}
		if _, _, err := client.Authenticate(t.Context(), "serveradmin", "alice:"+fmt.Sprint(i)); err == nil {
			t.Fatal("a number is a token")
		}
	}
	if n := oned.CallCounts()["one.user.info"] - before; n != 20 {
		t.Errorf("oned was asked %d times", n)
	}
}

func TestAuthenticateTellsTroubleFromRefusal(t *testing.T) {
	oned, client, server := lab(t)
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	must(t, oned.Stop(ctx))
	for name, secret := range map[string]string{"alice": "alice#", "serveradmin": secretFor(server, "alice", time.Now().Add(time.Minute))} {
		if _, _, err := client.Authenticate(ctx, name, secret); err == nil || opennebula.IsCode(err, opennebula.CodeAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPasswordsAreCheckedWithoutASessionOfTheirOwn: it would replace the one in which
// Flowjet acts for the user, and the next call would run an auth driver.
func TestPasswordsAreCheckedWithoutASessionOfTheirOwn(t *testing.T) {
	oned, client, _ := lab(t)
	calls := func(name, secret string) int {
		before := oned.CallCounts()["one.user.info"]
		_, _, _ = client.Authenticate(t.Context(), name, secret)
		return oned.CallCounts()["one.user.info"] - before
	}
	if made := calls("alice", "alice"); made != 1 {
		t.Errorf("%d calls for a right password, want Flowjet's own alone", made)
	}
	if made := calls("alice", "wrong"); made != 2 {
		t.Errorf("%d calls for a wrong password: oned has to judge it", made)
	}
	if made := calls("alice:100", "alice"); made != 1 {
		t.Errorf("%d calls for a name with a group: it is no user's", made)
	}
}

// No other token than the one that was made is taken: whichever of its bits is changed, and whatever it is cut to.
func TestNoOtherTokenIsTaken(t *testing.T) {
	oned, client, server := lab(t)
	secret := secretFor(server, "alice", time.Now().Add(time.Minute))
	token := strings.TrimPrefix(secret, "alice:")
	before := oned.CallCounts()["one.user.info"]
	refused := func(token string) {
		t.Helper()
		for _, target := range []string{"alice", "oneadmin", "alice:100", "alice:0"} {
			if _, _, err := client.Authenticate(t.Context(), "serveradmin", target+":"+token); !opennebula.IsCode(err, opennebula.CodeAuthentication) {
				t.Errorf("%s:%s: %v", target, token, err)
			}
		}
	}
	for at := range token {
		for bit := range 7 {
			changed := []byte(token)
			changed[at] ^= 1 << bit
			refused(string(changed))
		}
		refused(token[:at])
		refused(token[at+1:])
	}
	refused(token + "=")
	refused(token + token)
	refused(" " + token)
	refused(token + "\n")
	if n := oned.CallCounts()["one.user.info"] - before; n != 0 {
		t.Errorf("oned was asked %d times", n)
	}
}
