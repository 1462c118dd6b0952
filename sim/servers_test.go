package sim_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

// zoneOfThree is a zone of three servers on loopback addresses of their own.
func zoneOfThree(t *testing.T, config sim.Config) *sim.Sim {
	t.Helper()
	config.ElectionTime = 4 * time.Millisecond
	return zoneOf(t, config)
}

// zoneOf is a zone of three servers whose elections take what the configuration says.
func zoneOf(t *testing.T, config sim.Config) *sim.Sim {
	t.Helper()
	config.Others = []sim.ServerAddress{{}, {}}
	s := start(t, config)
	t.Cleanup(client.CloseIdleConnections)
	return s
}

// at calls one server of the zone.
func at(t *testing.T, s *sim.Sim, server int, method string, parameters ...any) reply {
	t.Helper()
	answer, err := post(t, s.Servers()[server].Endpoint, requestBody(method, parameters...))
	if err != nil {
		t.Fatalf("%s at server %d: %v", method, server, err)
	}
	return answer
}

// awaitLeader waits until somebody leads and takes writes.
func awaitLeader(t *testing.T, s *sim.Sim) {
	t.Helper()
	poll.Until(t, "a leader takes writes", func() bool {
		for i, server := range s.Servers() {
			if server.Leader {
				refused := at(t, s, i, "one.document.delete", oneadmin, 1<<30)
				return refused.code == 0x400
			}
		}
		return false
	})
}

func TestZoneHasOneLeader(t *testing.T) {
	s := zoneOfThree(t, sim.Config{BootDelay: sim.NoDelay})
	for server, state := range []string{"3", "2", "2"} {
		status := at(t, s, server, "one.zone.raftstatus", oneadmin)
		if !strings.Contains(status.text, "<STATE>"+state+"</STATE>") {
			t.Errorf("server %d says %s", server, status.text)
		}
	}
	info := at(t, s, 2, "one.zone.info", oneadmin, 0)
	for _, server := range s.Servers() {
		if !strings.Contains(info.text, "<ENDPOINT><![CDATA["+server.Endpoint+"]]></ENDPOINT>") {
			t.Errorf("one.zone.info does not list %s: %s", server.Endpoint, info.text)
		}
	}
	made := at(t, s, 0, "one.template.instantiate", oneadmin, 0, "a", false, "", false)
	poll.Until(t, "a follower has the leader's VM", func() bool { return at(t, s, 1, "one.vm.info", oneadmin, made.id(t)).ok })
}

func TestFollowerPassesWritesOn(t *testing.T) {
	s := zoneOfThree(t, sim.Config{BootDelay: sim.NoDelay})
	if made := at(t, s, 1, "one.template.instantiate", oneadmin, 0, "a", false, "", false); !made.ok {
		t.Errorf("a follower did not pass the call on: %s", made.raw)
	}
	s.LoseLeadership()
	if refused := at(t, s, 1, "one.template.instantiate", oneadmin, 0, "b", false, "", false); refused.code != 0x2000 {
		t.Errorf("without a leader a follower answered %s", refused.raw)
	}
}

// TestLeadersPublish: the events come from whoever leads, and only from there.
func TestLeadersPublish(t *testing.T) {
	s := zoneOfThree(t, sim.Config{BootDelay: sim.NoDelay})
	var heard []*listener
	for _, server := range s.Servers() {
		heard = append(heard, subscribeAt(t, server.Hooks, "EVENT STATE VM/"))
	}
	for server := range s.Servers() {
		if err := s.Lead(server); err != nil {
			t.Fatal(err)
		}
		if err := s.WaitSubscribed(t.Context(), "EVENT STATE VM/"); err != nil {
			t.Fatal(err)
		}
		awaitLeader(t, s)
		id := at(t, s, server, "one.template.instantiate", oneadmin, 0, "a", false, "", false).id(t)
		heard[server].await(t, fmt.Sprintf("EVENT STATE VM/ACTIVE/RUNNING/%d ", id), 1)
	}
	for server, listener := range heard {
		for _, message := range listener.all() {
			if !strings.HasSuffix(message.key, fmt.Sprintf("/%d ", server)) {
				t.Errorf("server %d published %s while it did not lead", server, message.key)
			}
		}
	}
}

func TestStoppedLeaderIsReplaced(t *testing.T) {
	s := zoneOfThree(t, sim.Config{BootDelay: sim.NoDelay})
	told(t, s, http.MethodPost, "/servers/0/stop", "")
	poll.Until(t, "another server leads", func() bool { return s.Servers()[1].Leader })
	awaitLeader(t, s)
	if !at(t, s, 1, "one.template.instantiate", oneadmin, 0, "a", false, "", false).ok {
		t.Error("the new leader takes no writes")
	}
	told(t, s, http.MethodPost, "/servers/0/start", "")
	if status := at(t, s, 0, "one.zone.raftstatus", oneadmin); !strings.Contains(status.text, "<STATE>2</STATE>") ||
		!strings.Contains(status.text, "<TERM>4</TERM>") {
		t.Errorf("the old leader is back as %s", status.text)
	}
	told(t, s, http.MethodPost, "/leadership/move", "")
	if !s.Servers()[2].Leader {
		t.Errorf("the leadership did not move: %+v", s.Servers())
	}
	for _, path := range []string{"/servers/7/stop", "/servers/x/stop", "/servers/0/hop"} {
		if status, text := control(t, s, http.MethodPost, path, ""); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}
