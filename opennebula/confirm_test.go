package opennebula

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
)

// TestOneAddressOfThreeIsEnough also where the first question waits for an auth driver.
func TestOneAddressOfThreeIsEnough(t *testing.T) {
	zone := newFakeZone(t, 3)
	zone.lead(2, 1)
	zone.servers[0].set(func() { zone.servers[0].slowFirst = 1200 * time.Millisecond })
	client := zone.client(t, Config{}, 0)
	if client.Endpoint() != zone.servers[2].URL {
		t.Errorf("calls go to %s, the leader is %s", client.Endpoint(), zone.servers[2].URL)
	}
}

// TestConfiguredServerIsDown: others that are known are asked.
func TestConfiguredServerIsDown(t *testing.T) {
	zone := newFakeZone(t, 3)
	client := NewClient(Config{Endpoint: closedAddress(t), Credentials: testCredentials})
	t.Cleanup(client.Close)
	client.Follow(t.Context(), 0)
	client.Introduce([]string{zone.servers[1].URL})
	client.Follow(t.Context(), 0)
	if client.Endpoint() != zone.servers[0].URL {
		t.Errorf("calls go to %s, the leader is %s", client.Endpoint(), zone.servers[0].URL)
	}
}

// TestMissingIsBelievedOfTheLeaderAlone: a follower's database is behind, and a
// server does not know at once that another one leads.
func TestMissingIsBelievedOfTheLeaderAlone(t *testing.T) {
	zone := newFakeZone(t, 3)
	client := zone.client(t, Config{}, 0)
	zone.lead(1, 2)
	zone.servers[0].set(func() { zone.servers[0].documents = false })
	document, err := client.Server().Document(t.Context(), 42)
	if err != nil || document.Name != "server 1" {
		t.Errorf("got %q, %v: a server that no longer leads was believed", document.Name, err)
	}
	zone.servers[1].set(func() { zone.servers[1].documents = false })
	if _, err := client.Server().Document(t.Context(), 42); !IsCode(err, CodeNoExists) {
		t.Errorf("the leader has no such document: %v", err)
	}
}

// TestMissingIsBelievedOfAMajority: a follower that is slow may have what the leader has lost.
func TestMissingIsBelievedOfAMajority(t *testing.T) {
	zone := newFakeZone(t, 3)
	client := zone.client(t, Config{}, 0)
	zone.servers[0].set(func() { zone.servers[0].documents = false })
	for _, follower := range zone.servers[1:] {
		follower.set(func() { follower.refuses = "not now" })
	}
	brief, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := client.Server().Confirmed().Document(brief, 42); !errors.Is(err, ErrUnconfirmed) || !NotBegun(err) {
		t.Errorf("no follower says whether it has the document, and the leader is believed: %v", err)
	}
	zone.servers[1].set(func() { zone.servers[1].hangs = true })
	zone.servers[2].set(func() { zone.servers[2].refuses = "" })
	if _, err := client.Server().Confirmed().Document(t.Context(), 42); !errors.Is(err, ErrDisagree) {
		t.Errorf("a follower has the document, another one hangs, and the leader is believed: %v", err)
	}
	zone.servers[2].set(func() { zone.servers[2].documents = false })
	if _, err := client.Server().Confirmed().Document(t.Context(), 42); !IsCode(err, CodeNoExists) {
		t.Errorf("a majority lacks the document: %v", err)
	}
}

// TestLeaderThatWasCutOffConfirmsNothing: it goes on saying that it leads.
func TestLeaderThatWasCutOffConfirmsNothing(t *testing.T) {
	zone := newFakeZone(t, 3)
	client := zone.client(t, Config{}, 0)
	old := zone.servers[0]
	zone.lead(2, 2)
	old.set(func() { old.status.State, old.status.Term, old.documents = RaftLeader, 1, false })
	document, err := client.Server().Confirmed().Document(t.Context(), 42)
	if err != nil || document.Name != "server 2" {
		t.Errorf("got %q, %v: a leader of an older term was believed", document.Name, err)
	}
}

// TestConfirm vouches for what was read since, unless another server leads by then, or the same one in another term.
func TestConfirm(t *testing.T) {
	zone := newFakeZone(t, 3)
	client := zone.client(t, Config{}, 0)
	confirmed := client.Confirm()
	if !confirmed(t.Context()) {
		t.Error("nothing has changed, and the leader is not confirmed")
	}
	for term, leader := range map[int]int{5: 0, 6: 1} {
		confirmed = client.Confirm()
		zone.lead(leader, term)
		if confirmed(t.Context()) {
			t.Errorf("server %d leads in term %d by now, and what was read before is confirmed", leader, term)
		}
	}
	alone := newFakeZone(t, 1)
	if !alone.client(t, Config{}, 0).Confirm()(t.Context()) {
		t.Error("a zone of one server does not confirm")
	}
}

// TestZoneThatWasRestored leads in a term that it had before: a majority of servers that know
// no newer one is believed, and fewer are not.
func TestZoneThatWasRestored(t *testing.T) {
	zone := newFakeZone(t, 3)
	zone.lead(0, 9)
	client := zone.client(t, Config{}, 0)
	zone.servers[2].set(func() { zone.servers[2].status.Term = 2 })
	zone.servers[0].set(func() { zone.servers[0].hangs = true })
	zone.servers[1].set(func() { zone.servers[1].status.State, zone.servers[1].status.Term = RaftLeader, 9 })
	if _, err := client.Server().Confirmed().Document(t.Context(), 42); err != nil {
		t.Fatal(err)
	}
	zone.lead(1, 3)
	document, err := client.Server().Confirmed().Document(t.Context(), 42)
	if err != nil || document.Name != "server 1" {
		t.Errorf("got %q, %v", document.Name, err)
	}
	if term, _ := client.Leadership(); term != 3 {
		t.Errorf("the term is %d, want 3", term)
	}
}

// TestLeadershipThatEndsDuringARead: the answer may be from either side of it.
func TestLeadershipThatEndsDuringARead(t *testing.T) {
	zone := newFakeZone(t, 3)
	client := zone.client(t, Config{}, 0)
	var once sync.Once
	zone.servers[0].set(func() {
		zone.servers[0].before = func(method string) {
			if method == "one.document.info" {
				once.Do(func() { zone.lead(0, 5) })
			}
		}
	})
	if _, err := client.Server().Confirmed().Document(t.Context(), 42); err != nil {
		t.Fatal(err)
	}
	if asked := zone.servers[0].count("one.document.info"); asked != 2 {
		t.Errorf("the document was read %d times, want once in each term", asked)
	}
}

// TestNewLeaderThatIsBehindConfirmsNothing: it begins with what its predecessor left.
func TestNewLeaderThatIsBehindConfirmsNothing(t *testing.T) {
	zone := newFakeZone(t, 3)
	client := zone.client(t, Config{}, 0, 1, 2)
	leader := zone.servers[0]
	leader.set(func() {
		leader.status.Term, leader.status.LogTerm, leader.status.LogIndex, leader.status.Commit = 2, 1, 9, 7
		leader.documents = false
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := client.Server().Document(ctx, 42)
	if !errors.Is(err, ErrUnconfirmed) && !errors.Is(err, context.DeadlineExceeded) || !NotBegun(err) {
		t.Errorf("a leader that has not caught up was believed: %v", err)
	}
	leader.set(func() { leader.status.Commit = 9 })
	if _, err := client.Server().Document(t.Context(), 42); !IsCode(err, CodeNoExists) {
		t.Errorf("it has caught up: %v", err)
	}
}

func TestReadsAreConfirmedByThoseThatCanBeReached(t *testing.T) {
	zone := newFakeZone(t, 1)
	leader := zone.servers[0]
	leader.set(func() { leader.lists = []string{leader.URL, closedAddress(t), closedAddress(t)} })
	var logged testlog.Log
	client := zone.client(t, Config{Logger: logged.Logger()}, 0)
	for range 2 * givenUp {
		if _, err := client.Server().Confirmed().Document(t.Context(), 42); err != nil {
			t.Fatal(err)
		}
	}
	if told := logged.Count("does not answer; calls go to the other servers"); told != 2 {
		t.Errorf("%d lines name the two servers that cannot be reached:\n%s", told, logged.String())
	}
}

// TestServerOfAnotherZoneIsNotUsed even where its term is newer.
func TestServerOfAnotherZoneIsNotUsed(t *testing.T) {
	ours, theirs := newFakeZone(t, 2), newFakeZone(t, 1)
	theirs.lead(0, 75)
	mixed := &fakeZone{servers: append(ours.servers, theirs.servers...)}
	var logged testlog.Log
	client := mixed.client(t, Config{Logger: logged.Logger()}, 0, 1, 2)
	if client.Endpoint() != ours.servers[0].URL {
		t.Errorf("calls go to %s, the zone's leader is %s", client.Endpoint(), ours.servers[0].URL)
	}
	if told := logged.Count("belongs to another zone"); told != 1 || !strings.Contains(logged.String(), theirs.servers[0].URL) {
		t.Errorf("%d lines name it:\n%s", told, logged.String())
	}
}

// TestCallsWaitForALeader: the zone's words for it are different while it elects one.
func TestCallsWaitForALeader(t *testing.T) {
	for _, reason := range []string{"Cannot process request, no leader found", "Cannot process request, oned cluster is replicating log"} {
		zone := newFakeZone(t, 3)
		client := zone.client(t, Config{}, 0)
		for _, s := range zone.servers {
			s.set(func() { s.refuses, s.status.State = reason, RaftFollower })
		}
		done := make(chan error, 1)
		go func() { done <- client.Server().DeleteDocument(context.Background(), 42) }()
		poll.Until(t, "the call to be refused", func() bool { return zone.servers[0].count("one.document.delete") > 0 })
		zone.lead(1, 2)
		for _, s := range zone.servers {
			s.set(func() { s.refuses = "" })
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// TestUrgentCallsGoFirst also where all slots for others are taken.
func TestUrgentCallsGoFirst(t *testing.T) {
	s := newSlots(2)
	background := t.Context()
	if err := s.acquire(background, "", true); err != nil {
		t.Fatal(err)
	}
	order := make(chan string, 3)
	go func() { _ = s.acquire(background, "", true); order <- "background" }()
	poll.Until(t, "it to wait", func() bool { s.mutex.Lock(); defer s.mutex.Unlock(); return s.writing.Len() == 1 })
	if err := s.acquire(Urgent(background), "", true); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.acquire(Urgent(background), "", true); order <- "urgent" }()
	poll.Until(t, "it to wait", func() bool { s.mutex.Lock(); defer s.mutex.Unlock(); return s.urgent.Len() == 1 })
	s.release(true)
	if first := <-order; first != "urgent" {
		t.Errorf("%s came first", first)
	}
	ended, cancel := context.WithCancel(background)
	cancel()
	if err := s.acquire(ended, "", true); err == nil || s.writing.Len() != 1 {
		t.Errorf("a call that was given up: %v, %d wait", err, s.writing.Len())
	}
	s.release(true)
	s.release(true)
	<-order
	s.resize(0)
	s.release(true)
	if s.busy() {
		t.Error("nothing is under way")
	}
}

// TestOneServerByTwoAddresses: configured by its loopback address, it is listed by
// another one.
func TestOneServerByTwoAddresses(t *testing.T) {
	zone := newFakeZone(t, 3)
	leader := zone.servers[0]
	alias := strings.Replace(leader.URL, "127.0.0.1", "localhost", 1)
	for _, s := range zone.servers {
		s.set(func() { s.lists = []string{alias, zone.servers[1].URL, zone.servers[2].URL} })
	}
	client := zone.client(t, Config{}, 0)
	for range 20 {
		if _, err := client.Server().Confirmed().Document(t.Context(), 42); err != nil {
			t.Fatal(err)
		}
	}
	if client.Endpoint() != leader.URL || len(client.leader.servers.all()) != 3 {
		t.Errorf("calls go to %s of %v", client.Endpoint(), client.leader.servers.all())
	}
	if asked := leader.count("one.document.info"); asked != 20 {
		t.Errorf("the document was read %d times, want 20: a server was taken for another", asked)
	}
}

// TestARestartedOnedBeginsATerm: its drivers died with it, as a dead leader's do.
func TestARestartedOnedBeginsATerm(t *testing.T) {
	zone := newFakeZone(t, 1)
	zone.servers[0].set(func() { zone.servers[0].status = RaftStatus{ServerID: -1, State: RaftSolo, Term: -1} })
	client := zone.client(t, Config{}, 0)
	call := func() error { _, err := client.Server().Document(t.Context(), 42); return err }
	if err := call(); err != nil {
		t.Fatal(err)
	}
	first, _ := client.Leadership()
	address := zone.servers[0].Listener.Addr().String()
	zone.servers[0].Close()
	poll.Until(t, "a call to find it down", func() bool { return NotBegun(call()) })
	if term, _ := client.Leadership(); term != first {
		t.Errorf("term %d while it is down, it was %d", term, first)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	again := &http.Server{Handler: http.HandlerFunc(zone.servers[0].serve)}
	defer again.Close()
	go func() { _ = again.Serve(listener) }()
	if err := call(); err != nil {
		t.Fatal(err)
	}
	if term, since := client.Leadership(); term != first+1 || time.Since(since) > time.Minute {
		t.Errorf("term %d since %v after a restart, it was %d", term, since, first)
	}
}
