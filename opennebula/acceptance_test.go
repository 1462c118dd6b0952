package opennebula_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// counted is a client of the same oned with another password of the server user, which counts its calls.
func counted(t *testing.T, endpoint, password string) (*opennebula.Client, *atomic.Int64) {
	t.Helper()
	var calls atomic.Int64
	client := opennebula.NewClient(opennebula.Config{
		Endpoint: endpoint, Credentials: opennebula.Credentials{User: "serveradmin", Password: password},
		Observe: func(string, time.Duration) { calls.Add(1) },
	})
	t.Cleanup(client.Close)
	return client, &calls
}

// While oned refuses the server user, calls for all users fail as calls that were not made, and few are made: oned runs an auth driver for each.
// They are made again when oned accepts it.
func TestARefusedServerUserIsAskedForRarely(t *testing.T) {
	t.Parallel()
	oned, _ := simulated(t)
	client, calls := counted(t, oned.Endpoint(), "outdated")
	_, err := client.For("alice").User(t.Context(), -1)
	if _, is := errors.AsType[*opennebula.ServerUserError](err); !is || !opennebula.NotBegun(err) || opennebula.Ambiguous(err) ||
		!opennebula.IsCode(err, opennebula.CodeAuthentication) || !strings.Contains(err.Error(), "oned refuses the server user serveradmin") ||
		!strings.Contains(err.Error(), "one.auth_file") {
		t.Fatalf("the error is %v", err)
	}
	tried, began := 0, time.Now()
	for ; time.Since(began) < 2*time.Second; tried++ {
		if _, err := client.Server().Version(t.Context()); !opennebula.NotBegun(err) {
			t.Fatalf("the error is %v", err)
		}
		must(t, idle.For(t.Context(), time.Millisecond))
	}
	if most := int64(7); calls.Load() > most {
		t.Errorf("of %d calls %d are made, want at most %d", tried, calls.Load(), most)
	}
	right, err := opennebula.ParseCredentials(oned.ServerCredentials())
	must(t, err)
	changed, err := client.Renew(right)
	must(t, err)
	if _, err := client.For("alice").User(t.Context(), -1); err != nil || !changed {
		t.Errorf("with the right password: %v", err)
	}
}

// A client that goes away while it has oned asked again does not have all calls made again.
func TestAClientThatLeavesDoesNotEndARefusal(t *testing.T) {
	t.Parallel()
	oned, _ := simulated(t)
	client, calls := counted(t, oned.Endpoint(), "outdated")
	gone, leave := context.WithCancel(t.Context())
	leave()
	for began := time.Now(); time.Since(began) < time.Second; {
		if _, err := client.Server().Version(t.Context()); !opennebula.NotBegun(err) {
			t.Fatalf("the error is %v", err)
		}
		_, _ = client.Server().Version(gone)
	}
	if most := int64(9); calls.Load() > most {
		t.Errorf("%d calls are made, want at most %d", calls.Load(), most)
	}
}

// A zone that refuses the server user answers: that is no doubt about its leader, for which other workers would take over.
func TestARefusedServerUserIsNoDoubtAboutTheLeader(t *testing.T) {
	t.Parallel()
	_, client := zoneOfThree(t, sim.Config{})
	count(t, client)
	changed, err := client.Renew(opennebula.Credentials{User: "serveradmin", Password: "changed"})
	if must(t, err); !changed {
		t.Fatal("the password was not changed")
	}
	for began := time.Now(); time.Since(began) < 4*time.Second; { // the leader is asked for again after two
		_, err := client.Server().Version(t.Context())
		if _, is := errors.AsType[*opennebula.ServerUserError](err); !is {
			t.Fatalf("the error is %v", err)
		}
		if doubt := client.Doubt(); doubt > 0 || !client.Ping(t.Context()) {
			t.Fatalf("after %s the leader is in doubt for %s", time.Since(began), doubt)
		}
		must(t, idle.For(t.Context(), time.Millisecond))
	}
}

// Where oned accepts the server user again by itself, calls are made again within seconds.
func TestAServerUserThatIsAcceptedAgain(t *testing.T) {
	t.Parallel()
	oned, client := simulated(t)
	refuseCalls(t, oned, "one.user.info", 5)
	if _, err := client.Server().User(t.Context(), -1); !opennebula.NotBegun(err) {
		t.Fatalf("the error is %v", err)
	}
	poll.Until(t, "oned to be asked again", func() bool {
		_, err := client.For("alice").User(t.Context(), -1)
		return err == nil
	})
}

// A user whom oned refuses although it accepts the server user, as one that is disabled, is refused alone.
func TestARefusedUserIsNotTheServerUser(t *testing.T) {
	t.Parallel()
	oned, client := simulated(t)
	refuseCalls(t, oned, "one.vm.info", 1)
	_, err := client.For("alice").VM(t.Context(), 0)
	if !opennebula.IsCode(err, opennebula.CodeAuthentication) || opennebula.Temporary(err) {
		t.Errorf("the error is %v", err)
	}
	if _, err := client.For("bob").User(t.Context(), -1); err != nil && opennebula.NotBegun(err) {
		t.Errorf("the error for another user is %v", err)
	}
}

// refuseCalls has oned refuse the credentials of so many calls of a method.
func refuseCalls(t *testing.T, oned *sim.Sim, method string, count int) {
	t.Helper()
	must(t, oned.FailCall(sim.CallFailure{Method: method, Count: count, Code: opennebula.CodeAuthentication, Message: "User couldn't be authenticated, aborting call."}))
}
