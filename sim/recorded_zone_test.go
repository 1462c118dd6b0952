package sim_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

// recordedAtServer is a call to one server of a zone of three.
type recordedAtServer struct {
	recordedCall
	When    string            `json:"when"`
	Server  int               `json:"server"`
	Role    string            `json:"role"`
	Headers map[string]string `json:"headers"`
}

// The order of what was recorded: the second server led, was killed, the first
// one led, and the killed one came back.
const (
	oldLeader = 1
	newLeader = 0
)

// replay is a zone that goes through what the recorded one went through.
type replay struct {
	s *sim.Sim
	// documents and vms are the ids that stand for the recorded ones.
	documents, vms map[int]int
	killed, back   bool
}

// slowElection is long enough for all calls of a phase.
const slowElection = 6 * time.Second

func newReplay(t *testing.T) *replay {
	t.Helper()
	s := zoneOf(t, sim.Config{ElectionTime: slowElection, FollowerLag: 500 * time.Millisecond, BootDelay: time.Hour, TimeFactor: -1})
	if err := s.Lead(oldLeader); err != nil {
		t.Fatal(err)
	}
	awaitLeader(t, s)
	if r := at(t, s, oldLeader, "one.template.update", oneadmin, 0, "CPU=0.01\nMEMORY=16\n", 0); !r.ok {
		t.Fatal(r.raw)
	}
	return &replay{s: s, documents: map[int]int{}, vms: map[int]int{}}
}

// TestZoneAnswersAsRecorded replays the calls to a zone of three whose leader
// was killed and came back. Refusals have to be the recorded ones to the byte,
// but for addresses and ids; everything else has the recorded structure.
func TestZoneAnswersAsRecorded(t *testing.T) {
	r := newReplay(t)
	for i, recorded := range fixtures.Lines[recordedAtServer](t, "xmlrpc-ha.jsonl") {
		if !t.Run(strconv.Itoa(i)+" "+recorded.When+" "+recorded.Method, func(t *testing.T) { r.answer(t, recorded) }) {
			return
		}
	}
}

func (r *replay) answer(t *testing.T, recorded recordedAtServer) {
	t.Helper()
	r.reach(t, recorded)
	got := r.ask(t, recorded)
	if strings.Contains(recorded.When, "10 s later") && strings.Contains(got.raw, "&lt;ERROR&gt;") {
		return // the recorded scheduler had not tried again yet
	}
	if recorded.refused() {
		if want := r.translated(recorded.Response); got.raw != want {
			t.Fatalf("answered %s\nrecorded %s", got.raw, want)
		}
		return
	}
	want, have := answerStructure(t, recorded.Response), answerStructure(t, got.raw)
	if want, have = figures.ReplaceAllString(want, "MONITORING"), figures.ReplaceAllString(have, "MONITORING"); want != have {
		t.Fatal(difference(want, have))
	}
	r.sameStates(t, recorded, got)
	if lineEnds(recorded.Response) != lineEnds(got.raw) {
		t.Errorf("the lines of the answer are %q, recorded were %q", lineEnds(got.raw), lineEnds(recorded.Response))
	}
	r.learn(t, recorded, got)
}

// figures are what the monitoring shows: the recorded servers had none yet.
var figures = regexp.MustCompile(`MONITORING\{[^}]*\}`)

// reach brings the zone to where it was when a call was recorded.
func (r *replay) reach(t *testing.T, recorded recordedAtServer) {
	t.Helper()
	switch when := recorded.When; {
	case strings.Contains(when, "after the leader was killed"):
		r.kill(t)
		if strings.HasPrefix(when, "3.5 s") {
			r.awaitRefusal(t, recorded.Server, "no leader found")
		}
	case when == "new leader":
		r.awaitRefusal(t, newLeader, "replicating log")
	case strings.HasPrefix(when, "VMs that were starting"):
		r.awaitLeader(t, newLeader)
	case strings.HasPrefix(when, "killed server started again"):
		r.awaitLeader(t, newLeader)
		if !r.back {
			r.back = true
			if err := r.s.StartServer(oldLeader); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// kill starts VMs that are under way in the recorded states, and kills the leader.
func (r *replay) kill(t *testing.T) {
	t.Helper()
	if r.killed {
		return
	}
	r.killed = true
	for recorded, state := range []string{1: "BOOT", 2: "LCM_INIT", 3: "", 4: ""} {
		if recorded == 0 {
			continue
		}
		id := at(t, r.s, oldLeader, "one.template.instantiate", oneadmin, 0, "inflight", false, "", false).id(t)
		r.vms[recorded] = id
		if state == "" {
			continue
		}
		at(t, r.s, oldLeader, "one.vm.deploy", oneadmin, id, 0, false, -1, "")
		if err := r.s.BreakVM(id, state); err != nil {
			t.Fatal(err)
		}
	}
	poll.Until(t, "all servers have all", func() bool {
		return at(t, r.s, 0, "one.vm.info", oneadmin, r.vms[4]).ok && at(t, r.s, 2, "one.vm.info", oneadmin, r.vms[4]).ok
	})
	if err := r.s.StopServer(oldLeader); err != nil {
		t.Fatal(err)
	}
	r.s.SetBootDelay(0)
	client.CloseIdleConnections()
}

func (r *replay) awaitRefusal(t *testing.T, server int, reason string) {
	t.Helper()
	poll.Until(t, reason, func() bool {
		return strings.Contains(at(t, r.s, server, "one.document.delete", oneadmin, 1<<30).text, reason)
	})
}

func (r *replay) awaitLeader(t *testing.T, server int) {
	t.Helper()
	poll.Until(t, "the new leader takes writes", func() bool {
		return at(t, r.s, server, "one.document.delete", oneadmin, 1<<30).code == 0x400
	})
}

// ask makes a recorded call again, as often as luck takes where a follower's
// being behind is what was recorded.
func (r *replay) ask(t *testing.T, recorded recordedAtServer) reply {
	t.Helper()
	if recorded.Role == "follower" && strings.Contains(recorded.Method, ".info") && recorded.refused() {
		return r.readTooEarly(t, recorded)
	}
	if recorded.Role == "follower" && strings.HasSuffix(recorded.Method, ".info") {
		poll.Until(t, "the follower has the object", func() bool { return r.post(t, recorded).ok })
	}
	return r.post(t, recorded)
}

// readTooEarly reads a document at a follower right after it was written.
func (r *replay) readTooEarly(t *testing.T, recorded recordedAtServer) (got reply) {
	t.Helper()
	leader := oldLeader
	if r.killed {
		leader = newLeader
	}
	poll.Until(t, "a read comes too early", func() bool {
		writer := leader
		if strings.Contains(recorded.Response, "[1]") {
			writer = recorded.Server
		}
		id := at(t, r.s, writer, "one.document.allocate", oneadmin, "<TEMPLATE><BODY>x</BODY></TEMPLATE>", 100).id(t)
		r.documents[idOf(t, recorded)] = id
		got = r.post(t, recorded)
		return !got.ok
	})
	return got
}

func (r *replay) post(t *testing.T, recorded recordedAtServer) reply {
	t.Helper()
	got, err := post(t, r.s.Servers()[recorded.Server].Endpoint, r.request(t, recorded))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// request is the recorded call with this zone's ids.
func (r *replay) request(t *testing.T, recorded recordedAtServer) string {
	t.Helper()
	object, _, _ := strings.Cut(strings.TrimPrefix(recorded.Method, "one."), ".")
	known := map[string]map[int]int{"document": r.documents, "vm": r.vms}[object]
	if known == nil || !wholeNumber.MatchString(recorded.Request) {
		return recorded.unchanged()
	}
	if id, found := known[idOf(t, recorded)]; found {
		return recorded.withID(1, id)
	}
	return recorded.unchanged()
}

// idOf is the first number of a recorded call.
func idOf(t *testing.T, recorded recordedAtServer) int {
	t.Helper()
	found := wholeNumber.FindStringSubmatch(recorded.Request)
	if found == nil {
		return -1
	}
	id, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// learn notes which id stands for one that was recorded.
func (r *replay) learn(t *testing.T, recorded recordedAtServer, got reply) {
	t.Helper()
	made := wholeNumber.FindStringSubmatch(recorded.Response)
	if made == nil {
		return
	}
	id, _ := strconv.Atoi(made[1])
	switch recorded.Method {
	case "one.document.allocate":
		r.documents[id] = got.id(t)
	case "one.template.instantiate":
		r.vms[id] = got.id(t)
	}
}

var (
	recordedAddress = regexp.MustCompile(`10\.77\.0\.2 port 2633`)
	recordedNumber  = regexp.MustCompile(`document \[(\d+)\]`)
	objectNumber    = regexp.MustCompile(`<value><i4>(\d+)</i4></value>\r\n<value><i8>`)
)

// translated is a recorded refusal with this zone's addresses and ids.
func (r *replay) translated(text string) string {
	address := strings.TrimSuffix(strings.TrimPrefix(r.s.Servers()[oldLeader].Endpoint, "http://"), "/RPC2")
	host, port, _ := strings.Cut(address, ":")
	text = recordedAddress.ReplaceAllString(text, host+" port "+port)
	found := recordedNumber.FindStringSubmatch(text)
	if found == nil {
		return text
	}
	recorded, _ := strconv.Atoi(found[1])
	id := strconv.Itoa(r.documents[recorded])
	text = recordedNumber.ReplaceAllString(text, "document ["+id+"]")
	return objectNumber.ReplaceAllString(text, "<value><i4>"+id+"</i4></value>\r\n<value><i8>")
}

var raftFields = regexp.MustCompile(`&lt;(SERVER_ID|STATE|VOTEDFOR)&gt;(-?\d+)|&lt;(STATE|LCM_STATE)&gt;(\d+)&lt;`)

// sameStates compares what decides: who leads, and what state a VM is in.
func (r *replay) sameStates(t *testing.T, recorded recordedAtServer, got reply) {
	t.Helper()
	if recorded.Method != "one.zone.raftstatus" && (recorded.Method != "one.vm.info" || !r.killed) {
		return
	}
	states := func(raw string) string { return strings.Join(raftFields.FindAllString(raw, -1), " ") }
	want := states(recorded.Response)
	if strings.Contains(recorded.When, "10 s later") || strings.Contains(recorded.When, "50 s later") {
		poll.Until(t, "the VM is in the recorded state", func() bool { return states(r.post(t, recorded).raw) == want })
		return
	}
	if have := states(got.raw); have != want {
		t.Errorf("it says %s, recorded was %s", have, want)
	}
}

// TestHeadersAreRecordedOnes holds the recorded form of Date and Server.
func TestHeadersAreRecordedOnes(t *testing.T) {
	s := start(t, sim.Config{})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoint(), strings.NewReader(requestBody("one.system.version", oneadmin)))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	digits := regexp.MustCompile(`\d`)
	form := func(date string) string {
		return digits.ReplaceAllString(regexp.MustCompile(`[A-Z][a-z]{2}`).ReplaceAllString(date, "Xxx"), "0")
	}
	for _, recorded := range fixtures.Lines[recordedAtServer](t, "xmlrpc-ha.jsonl") {
		if want, got := form(recorded.Headers["Date"]), form(response.Header.Get("Date")); want != got {
			t.Fatalf("Date is %s, recorded was %s", response.Header.Get("Date"), recorded.Headers["Date"])
		}
		if want, got := recorded.Headers["Server"], response.Header.Get("Server"); want != got {
			t.Fatalf("Server is %s, recorded was %s", got, want)
		}
		if closed := recorded.Headers["Connection"] == "close"; closed != response.Close {
			t.Fatalf("the connection is closed: %t, recorded was %s", response.Close, recorded.Headers["Connection"])
		}
	}
}
