package sim_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

// runsOf is how many runs of the authentication driver something costs.
func runsOf(s *sim.Sim, what func()) int {
	count := func() (runs int) {
		for _, server := range s.Servers() {
			runs += server.AuthDriverRuns
		}
		return runs
	}
	before := count()
	what()
	return count() - before
}

func TestOneSessionAUserIsRemembered(t *testing.T) {
	s := start(t, sim.Config{})
	soon := time.Now().Add(time.Minute)
	first, second := serverSession(s.ServerCredentials(), "alice", soon), serverSession(s.ServerCredentials(), "alice", soon.Add(time.Second))
	ask := func(session string) func() {
		return func() {
			if who := whoIs(t, s, session); who != "alice" {
				t.Errorf("%s is %q", session, who)
			}
		}
	}
	token := must(t, s, "one.user.login", alice, "alice", "", 600, -1).text
	for i, one := range []struct {
		session string
		runs    int
	}{
		{first, 1}, {first, 0}, {second, 1}, {first, 1}, {"alice:" + token, 0}, {first, 0}, {alice, 0}, {first, 1},
		{serverSession(s.ServerCredentials(), "oneadmin", soon), 1}, {first, 0},
	} {
		asked := ask(one.session)
		if strings.Contains(one.session, ":oneadmin:") {
			asked = func() { must(t, s, "one.user.info", one.session, -1, false) }
		}
		if runs := runsOf(s, asked); runs != one.runs {
			t.Errorf("call %d ran the driver %d times, not %d", i, runs, one.runs)
		}
	}
	must(t, s, "one.user.passwd", oneadmin, 2, "other")
	if runs := runsOf(s, ask(first)); runs != 1 {
		t.Errorf("after a change of the password the driver ran %d times", runs)
	}
	if runs := runsOf(s, func() { whoIs(t, s, serverSession("serveradmin:guess", "alice", soon)) }); runs != 1 {
		t.Errorf("a wrong token ran the driver %d times", runs)
	}
	if runs := runsOf(s, ask(first)); runs != 0 {
		t.Error("a wrong token drove out the right one")
	}
}

// TestDriverRunsWaitForEachOther: there is one processor.
func TestDriverRunsWaitForEachOther(t *testing.T) {
	s := start(t, sim.Config{TimeFactor: 0.1})
	var sessions []string
	for i := range 4 {
		sessions = append(sessions, serverSession(s.ServerCredentials(), "alice", time.Now().Add(time.Duration(i+1)*time.Minute)))
	}
	begin := time.Now()
	parallel(4, 4, func(i int) { must(t, s, "one.user.info", sessions[i], -1, false) })
	if took := time.Since(begin); took < 120*time.Millisecond {
		t.Errorf("four runs of 30 ms took %s", took)
	}
	if runs := s.State().Servers[0].AuthDriverRuns; runs != 4 {
		t.Errorf("%d runs were counted", runs)
	}
}

// TestEachServerRemembersForItself, and a write that is passed on is checked by both.
func TestEachServerRemembersForItself(t *testing.T) {
	s := zoneOfThree(t, sim.Config{})
	session := serverSession(s.ServerCredentials(), "alice", time.Now().Add(time.Minute))
	text := "<TEMPLATE><NAME>d</NAME></TEMPLATE>"
	if runs := runsOf(s, func() { at(t, s, 1, "one.document.allocate", session, text, 100) }); runs != 2 {
		t.Errorf("a write at a follower ran the driver %d times", runs)
	}
	if runs := runsOf(s, func() { at(t, s, 2, "one.user.info", session, -1) }); runs != 1 {
		t.Errorf("a read at another follower ran the driver %d times", runs)
	}
}

// hold takes connections of a server until the test ends, or the function is called.
func hold(t *testing.T, endpoint string, count int) (release func()) {
	t.Helper()
	address := strings.TrimSuffix(strings.TrimPrefix(endpoint, "http://"), "/RPC2")
	var held []net.Conn
	release = func() {
		for _, conn := range held {
			_ = conn.Close()
		}
		held = nil
	}
	t.Cleanup(release)
	for range count {
		var dialer net.Dialer
		conn, err := dialer.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	return release
}

func connections(s *sim.Sim, server int) int { return s.Servers()[server].Connections["127.0.0.1"].Now }

func TestSixteenthConnectionWaits(t *testing.T) {
	s := start(t, sim.Config{})
	release := hold(t, s.Endpoint(), 15)
	poll.Until(t, "15 connections are held", func() bool { return connections(s, 0) == 15 })
	answered := make(chan reply)
	go func() { answered <- call(t, s, "one.system.version", oneadmin) }()
	select {
	case <-answered:
		t.Error("a sixteenth connection was served")
	case <-time.After(50 * time.Millisecond):
	}
	release()
	<-answered
	if peak := s.Servers()[0].Connections["127.0.0.1"].Peak; peak != 15 {
		t.Errorf("%d connections were served at a time", peak)
	}
}

// TestConnectionEndsBehindItsCall, also where the client asks for more.
func TestConnectionEndsBehindItsCall(t *testing.T) {
	s := start(t, sim.Config{})
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimSuffix(strings.TrimPrefix(s.Endpoint(), "http://"), "/RPC2"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body, reader := requestBody("one.system.version", oneadmin), bufio.NewReader(conn)
	_, err = fmt.Fprintf(conn, "POST /RPC2 HTTP/1.1\r\nHost: oned\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || !answer.Close {
		t.Errorf("the connection is kept (%v)", err)
	}
	if _, err := reader.ReadByte(); err == nil {
		t.Error("something comes behind the answer")
	}
}

// TestZoneElectsWhenConnectionsAreTaken: the leader's messages need one of a
// follower's connections, too.
func TestZoneElectsWhenConnectionsAreTaken(t *testing.T) {
	s := zoneOf(t, sim.Config{ElectionTime: 100 * time.Millisecond})
	release := hold(t, s.Servers()[0].Endpoint, 15)
	poll.Until(t, "15 connections of the leader are held", func() bool { return connections(s, 0) == 15 })
	if s.Servers()[1].Term != 1 {
		t.Error("the zone elected because of its leader's connections")
	}
	refused := at(t, s, 1, "one.document.delete", oneadmin, 7)
	if refused.code != 0x2000 || !strings.Contains(refused.text, "libcurl failed to execute the HTTP POST transaction, explaining:  Operation timed out") {
		t.Errorf("a follower could not pass a write on: %s", refused.raw)
	}
	release()
	first, second := hold(t, s.Servers()[1].Endpoint, 15), hold(t, s.Servers()[2].Endpoint, 15)
	poll.Until(t, "the zone has elected twice", func() bool { return s.Servers()[2].Term > 4 })
	first()
	second()
	awaitLeader(t, s)
	term := s.Servers()[0].Term
	poll.Until(t, "calls are answered", func() bool { return at(t, s, 1, "one.system.version", oneadmin).ok })
	if now := s.Servers()[0].Term; now > term {
		t.Errorf("the zone went on electing: term %d, then %d", term, now)
	}
}

// TestFollowersReadLate: also what was written through the same follower.
func TestFollowersReadLate(t *testing.T) {
	s := zoneOf(t, sim.Config{ElectionTime: 40 * time.Millisecond, FollowerLag: 400 * time.Millisecond, BootDelay: sim.NoDelay})
	text := "<TEMPLATE><NAME>d</NAME></TEMPLATE>"
	missed := 0
	for range 40 {
		id := at(t, s, 1, "one.document.allocate", oneadmin, text, 100).id(t)
		if seen := at(t, s, 1, "one.document.info", oneadmin, id); !seen.ok {
			missed++
			if seen.text != fmt.Sprintf("[one.document.info] Error getting document [%d].", id) || seen.code != 0x400 {
				t.Errorf("it answered %s", seen.raw)
			}
		}
		if !at(t, s, 0, "one.document.info", oneadmin, id).ok {
			t.Error("the leader does not have what it wrote")
		}
		poll.Until(t, "the follower has it", func() bool { return at(t, s, 1, "one.document.info", oneadmin, id).ok })
	}
	if missed < 3 || missed > 38 {
		t.Errorf("%d of 40 documents were missed by a read at once", missed)
	}
	pool := func() string { return at(t, s, 2, "one.documentpool.info", oneadmin, -2, -1, -1, 100).text }
	poll.Until(t, "another follower lists all", func() bool { return strings.Count(pool(), "<DOCUMENT>") == 40 })
}

// TestServerComesBackBehind answers from its old database for a while: what
// has ended goes on there, and what is new is not there.
func TestServerComesBackBehind(t *testing.T) {
	s := zoneOf(t, sim.Config{ElectionTime: 40 * time.Millisecond, FollowerLag: time.Millisecond, TimeFactor: 0.1, BootDelay: sim.NoDelay})
	vm := runningVM(t, s)
	poll.Until(t, "the follower has it running", func() bool {
		return strings.Contains(at(t, s, 2, "one.vm.info", oneadmin, vm).text, "<LCM_STATE>3<")
	})
	if err := s.StopServer(2); err != nil {
		t.Fatal(err)
	}
	must(t, s, "one.vm.action", oneadmin, "terminate-hard", vm)
	awaitState(t, s, vm, "DONE")
	newVM := runningVM(t, s)
	if err := s.StartServer(2); err != nil {
		t.Fatal(err)
	}
	if old := at(t, s, 2, "one.vm.info", oneadmin, vm).text; !strings.Contains(old, "<LCM_STATE>3<") {
		t.Errorf("it knows more than it did: %s", old)
	}
	if pool := at(t, s, 2, "one.vmpool.infoextended", oneadmin, -2, -1, -1, -1).text; strings.Count(pool, "<VM>") != 1 {
		t.Errorf("it lists %s", pool)
	}
	poll.Until(t, "it has caught up", func() bool {
		return strings.Contains(at(t, s, 2, "one.vm.info", oneadmin, vm).text, "<STATE>6<") &&
			strings.Contains(at(t, s, 2, "one.vm.info", oneadmin, newVM).text, "<LCM_STATE>3<")
	})
}

// TestDriversDieWithTheLeader: what they were at stays as it is, and what
// brings each state on is what brought it on in a real zone.
func TestDriversDieWithTheLeader(t *testing.T) {
	s := zoneOf(t, sim.Config{ElectionTime: 40 * time.Millisecond, BootDelay: time.Hour, TimeFactor: -1})
	var ids []int
	for range 5 {
		ids = append(ids, instantiate(t, s, "vm", ""))
	}
	for i, state := range []string{"PROLOG", "BOOT", "SHUTDOWN", "LCM_INIT"} {
		if err := s.BreakVM(ids[i], state); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.StopServer(0); err != nil {
		t.Fatal(err)
	}
	s.SetBootDelay(0)
	awaitLeader(t, s)
	other := runningVMAt(t, s, 1)
	for i, state := range []string{"PROLOG", "BOOT", "SHUTDOWN", "LCM_INIT", "PENDING"} {
		if got := stateOf(s, ids[i]); got != state {
			t.Errorf("a VM in %s became %s while VM %d was started", state, got, other)
		}
	}
	act := func(method string, parameters ...any) reply {
		return at(t, s, 1, method, append([]any{oneadmin}, parameters...)...)
	}
	for i, step := range []string{"PROLOG", "BOOT"} {
		act("one.vm.recover", ids[i], 0)
		awaitState(t, s, ids[i], step+"_FAILURE")
		act("one.vm.recover", ids[i], 2)
		awaitState(t, s, ids[i], "RUNNING")
	}
	act("one.vm.action", "terminate-hard", ids[2])
	awaitState(t, s, ids[2], "DONE")
	begun := ids[3]
	for _, operation := range []int{0, 2} {
		if r := act("one.vm.recover", begun, operation); !r.ok || stateOf(s, begun) != "LCM_INIT" {
			t.Errorf("recover %d of a VM in LCM_INIT: %s", operation, r.raw)
		}
	}
	want := fmt.Sprintf("[one.vm.action] Error performing action \"terminate-hard\": Could not terminate VM %d, wrong state LCM_INIT.", begun)
	if r := act("one.vm.action", "terminate-hard", begun); r.code != 0x0800 || r.text != want {
		t.Errorf("terminate-hard of a VM in LCM_INIT: %s", r.raw)
	}
	act("one.vm.recover", begun, 4)
	runningVMAt(t, s, 1)
	if got := stateOf(s, begun); got != "CLEANUP_RESUBMIT" {
		t.Errorf("a VM in LCM_INIT that is made anew became %s", got)
	}
	act("one.vm.recover", begun, 3)
	awaitState(t, s, begun, "DONE")
	if r := act("one.vm.deploy", ids[4], 0); r.code != 0x2000 || r.text != "[one.vm.deploy] Cannot update virtual machine history" {
		t.Errorf("a VM with half a history was given a host: %s", r.raw)
	}
	act("one.vm.action", "terminate", ids[4])
	awaitState(t, s, ids[4], "DONE")
}

// runningVMAt starts a VM at a server of the zone.
func runningVMAt(t *testing.T, s *sim.Sim, server int) int {
	t.Helper()
	id := at(t, s, server, "one.template.instantiate", oneadmin, 0, "vm", false, "", false).id(t)
	awaitState(t, s, id, "RUNNING")
	return id
}

func TestDriversDieWithASingleOned(t *testing.T) {
	s := start(t, sim.Config{BootDelay: sim.NoDelay})
	s.PauseBoots()
	id := instantiate(t, s, "vm", "")
	awaitState(t, s, id, "BOOT")
	if err := s.Restart(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	s.ResumeBoots()
	runningVM(t, s)
	if got := stateOf(s, id); got != "BOOT" {
		t.Errorf("it became %s", got)
	}
	awaitEndOfTrouble(t, s, id)
}

// TestWriteUnderWayAtTheLeadersEnd is refused without a reason where it makes
// something, and else said to be done although it is lost.
func TestWriteUnderWayAtTheLeadersEnd(t *testing.T) {
	s := zoneOf(t, sim.Config{ElectionTime: 40 * time.Millisecond})
	s.SetCallDelay("", 100*time.Millisecond)
	id := at(t, s, 0, "one.document.allocate", oneadmin, "<TEMPLATE><BODY>old</BODY></TEMPLATE>", 100).id(t)
	answered, updated := make(chan reply), make(chan reply)
	go func() {
		updated <- at(t, s, 0, "one.document.update", oneadmin, id, "<TEMPLATE><BODY>new</BODY></TEMPLATE>", 0)
	}()
	go func() { answered <- at(t, s, 1, "one.template.instantiate", oneadmin, 0, "vm", false, "", false) }()
	poll.Until(t, "the calls are under way", func() bool { return s.HeldCalls() == 2 })
	if err := s.MoveLeadership(); err != nil {
		t.Fatal(err)
	}
	want := "[one.template.instantiate] Error allocating a new virtual machine template."
	if r := <-answered; r.code != 0x4000 || r.text != want {
		t.Errorf("it was answered with %s", r.raw)
	}
	if r := <-updated; !r.ok {
		t.Errorf("an update was answered with %s", r.raw)
	}
	if shown := at(t, s, 1, "one.document.info", oneadmin, id).text; !strings.Contains(shown, "old") {
		t.Errorf("the update was not lost: %s", shown)
	}
}

// TestElectionsMessagesComeInOrder asks a follower, and later leader, for a write all the time.
func TestElectionsMessagesComeInOrder(t *testing.T) {
	s := zoneOf(t, sim.Config{ElectionTime: 2400 * time.Millisecond})
	address := strings.TrimSuffix(strings.TrimPrefix(s.Servers()[0].Endpoint, "http://"), "/RPC2")
	host, port, _ := net.SplitHostPort(address)
	if err := s.StopServer(0); err != nil {
		t.Fatal(err)
	}
	var heard []string
	poll.Until(t, "the write is carried out", func() bool {
		answer := at(t, s, 1, "one.document.allocate", oneadmin, "<TEMPLATE><BODY>x</BODY></TEMPLATE>", 100)
		if answer.ok {
			return true
		}
		if answer.code != 0x2000 {
			t.Fatalf("refused with %s", answer.raw)
		}
		if reason := strings.TrimPrefix(answer.text, "[one.document.allocate] "); len(heard) == 0 || heard[len(heard)-1] != reason {
			heard = append(heard, reason)
		}
		return false
	})
	want := []string{
		"libcurl failed to execute the HTTP POST transaction, explaining:  Failed to connect to " + host + " port " + port + " after 0 ms: Couldn't connect to server",
		"Cannot process request, oned cluster in election mode",
		"Cannot process request, no leader found",
		"Cannot process request, oned cluster is replicating log",
	}
	if !slices.Equal(heard, want) {
		t.Errorf("it said\n%s\nwant\n%s", strings.Join(heard, "\n"), strings.Join(want, "\n"))
	}
	if made := at(t, s, 1, "one.documentpool.info", oneadmin, -2, -1, -1, 100).text; strings.Count(made, "<DOCUMENT>") != 1 {
		t.Errorf("a call that was refused was carried out: %s", made)
	}
}
