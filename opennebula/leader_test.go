package opennebula_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// zoneOfThree is a simulated zone of three oneds, and a client that was told of
// the first.
func zoneOfThree(t *testing.T, config sim.Config) (*sim.Sim, *opennebula.Client) {
	t.Helper()
	config.BootDelay, config.Others, config.ElectionTime = sim.NoDelay, []sim.ServerAddress{{}, {}}, 300*time.Millisecond
	zone, err := sim.New(config)
	must(t, err)
	must(t, zone.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(t, zone.Stop(ctx))
	})
	credentials, err := opennebula.ParseCredentials(zone.ServerCredentials())
	must(t, err)
	client := opennebula.NewClient(opennebula.Config{Endpoint: zone.Endpoint(), Credentials: credentials})
	t.Cleanup(client.Close)
	client.Follow(t.Context(), 0)
	return zone, client
}

func count(t *testing.T, client *opennebula.Client) int {
	t.Helper()
	vms, err := client.Server().Confirmed().VMs(t.Context(), opennebula.FilterAll, -1, -1, opennebula.StateAny)
	must(t, err)
	return len(vms)
}

func instantiate(client *opennebula.Client) error {
	_, err := client.For("oneadmin").InstantiateTemplate(context.Background(), 0, "web", false, "")
	return err
}

// TestWritesFollowTheLeader: a follower passes a write on, and a new leader that
// replicates its log refuses it for a moment, which is waited for.
func TestWritesFollowTheLeader(t *testing.T) {
	zone, client := zoneOfThree(t, sim.Config{})
	must(t, instantiate(client))
	for n, leader := range []int{2, 1, 0, 2} {
		must(t, zone.Lead(leader))
		must(t, instantiate(client))
		if made := count(t, client); made != n+2 {
			t.Errorf("there are %d VMs, want %d", made, n+2)
		}
	}
}

// TestCallsOutliveAStoppedLeader: what has not left, and what only reads, is
// made again at the next leader without anybody noticing.
func TestCallsOutliveAStoppedLeader(t *testing.T) {
	zone, client := zoneOfThree(t, sim.Config{})
	must(t, instantiate(client))
	for leader := range 2 {
		must(t, zone.StopServer(leader))
		if made := count(t, client); made != leader+1 {
			t.Errorf("there are %d VMs, want %d", made, leader+1)
		}
		poll.Until(t, "the call to reach the new leader", func() bool { return instantiate(client) == nil })
		must(t, zone.StartServer(leader)) // two of three have to be up
	}
	if made := count(t, client); made != 3 {
		t.Errorf("there are %d VMs, want 3", made)
	}
}

// TestElectionIsWaitedFor: oned reports that it has not begun with the call.
func TestElectionIsWaitedFor(t *testing.T) {
	zone, client := zoneOfThree(t, sim.Config{})
	zone.LoseLeadership()
	done := make(chan error, 1)
	go func() { done <- instantiate(client) }()
	poll.Until(t, "the call to be refused once", func() bool { return zone.CallCounts()["one.template.instantiate"] > 0 })
	must(t, zone.Lead(1))
	must(t, <-done)
	if made := count(t, client); made != 1 {
		t.Errorf("there are %d VMs, want 1", made)
	}
}

func TestLostAnswerIsNotAskedForAgain(t *testing.T) {
	zone, client := zoneOfThree(t, sim.Config{})
	must(t, zone.DropAnswer("one.template.instantiate", 1))
	if err := instantiate(client); !opennebula.Ambiguous(err) {
		t.Errorf("a lost answer: %v", err)
	}
	if made := count(t, client); made != 1 {
		t.Errorf("there are %d VMs, want 1", made)
	}
}

// server is an oned that says what it is in its zone, and answers other calls
// with its name, or never.
type server struct {
	*httptest.Server
	id     int
	status atomic.Value
	hangs  atomic.Bool
}

var serverIDs atomic.Int32

func newServer(t *testing.T, name string, state opennebula.RaftState, term int) *server {
	s := &server{id: int(serverIDs.Add(1))}
	s.says(state, term)
	quit := make(chan struct{})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.hangs.Load() {
			<-quit
			return
		}
		body := make([]byte, 4096)
		n, _ := r.Body.Read(body)
		answer := name
		if strings.Contains(string(body[:n]), "raftstatus") {
			answer = s.status.Load().(string)
		}
		fmt.Fprintf(w, "<methodResponse><params><param><value><array><data><value><boolean>1</boolean></value><value><string>%s</string></value><value><i4>0</i4></value></data></array></value></param></params></methodResponse>",
			strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(answer))
	}))
	t.Cleanup(func() { close(quit); s.Close() })
	return s
}

func (s *server) says(state opennebula.RaftState, term int) {
	s.status.Store(fmt.Sprintf("<RAFT><SERVER_ID>%d</SERVER_ID><STATE>%d</STATE><TERM>%d</TERM></RAFT>", s.id, state, term))
}

func clientOf(t *testing.T, servers ...*server) *opennebula.Client {
	t.Helper()
	config := opennebula.Config{Endpoint: servers[0].URL, Credentials: opennebula.Credentials{User: "serveradmin", Password: "x"}}
	for _, other := range servers[1:] {
		config.Others = append(config.Others, other.URL)
	}
	client := opennebula.NewClient(config)
	t.Cleanup(client.Close)
	client.Follow(t.Context(), 0)
	return client
}

func whoAnswers(t *testing.T, client *opennebula.Client) string {
	t.Helper()
	name, err := client.Server().Version(t.Context())
	must(t, err)
	return name
}

// TestDeposedLeaderIsNotBelieved: one that was cut off from the others still
// claims to lead.
func TestDeposedLeaderIsNotBelieved(t *testing.T) {
	old, young := newServer(t, "old", opennebula.RaftLeader, 4), newServer(t, "young", opennebula.RaftLeader, 5)
	client := clientOf(t, old, young)
	if name := whoAnswers(t, client); name != "young" {
		t.Errorf("%s answered", name)
	}
	young.hangs.Store(true)
	client.Follow(t.Context(), 0)
	if endpoint := client.Endpoint(); endpoint != young.URL {
		t.Error("calls go back to a leader of an older term")
	}
}

// TestHangingLeaderIsLeft: a suspended oned keeps its connections open.
func TestHangingLeaderIsLeft(t *testing.T) {
	old, young, third := newServer(t, "old", opennebula.RaftLeader, 1), newServer(t, "young", opennebula.RaftFollower, 1), newServer(t, "third", opennebula.RaftFollower, 1)
	client := clientOf(t, old, young, third)
	if name := whoAnswers(t, client); name != "old" {
		t.Fatalf("%s answered", name)
	}
	old.hangs.Store(true)
	young.says(opennebula.RaftLeader, 2)
	third.says(opennebula.RaftFollower, 2)
	written := make(chan error, 1)
	go func() { written <- client.Server().UpdateVM(context.Background(), 1, "A=B", true) }()
	if name := whoAnswers(t, client); name != "young" {
		t.Errorf("%s answered", name)
	}
	if err := <-written; !opennebula.Ambiguous(err) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write that a hanging oned may have carried out: %v", err)
	}
}

// TestDoubtOfALeaderThatIsCutOff: it claims to lead, but no other server confirms it any more.
func TestDoubtOfALeaderThatIsCutOff(t *testing.T) {
	leader, second, third := newServer(t, "leader", opennebula.RaftLeader, 1), newServer(t, "second", opennebula.RaftFollower, 1), newServer(t, "third", opennebula.RaftFollower, 1)
	client := clientOf(t, leader, second, third)
	if name := whoAnswers(t, client); name != "leader" || client.Doubt() != 0 {
		t.Fatalf("%s answered, in doubt for %s", name, client.Doubt())
	}
	second.Close()
	third.Close()
	poll.Until(t, "the leader to be doubted", func() bool { return whoAnswers(t, client) == "leader" && client.Doubt() > 0 })
	if single := clientOf(t, leader); whoAnswers(t, single) != "leader" || single.Doubt() != 0 {
		t.Error("the only server is doubted")
	}
}
