package bridge

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
)

var update = flag.Bool("update", false, "write the golden files anew")

// carried is what a recording has become.
type carried struct {
	p         *pipeline.Pipeline
	events    []stored
	dead      []stored
	log       string
	published int
}

// carry replays a recording over ZeroMQ through a bridge into JetStream.
func carry(t *testing.T, file string) carried {
	t.Helper()
	var log testlog.Log
	p := newPipeline(t)
	publisher := newTestPublisher(t, "127.0.0.1:0")
	b := New(Config{Zone: 4, Endpoints: []string{"tcp://" + publisher.address()}, Events: servicesNeed, Logger: log.Logger()}, p, nil)
	startBridge(t, b)
	must(t, publisher.waitForSubscriber(limited(t), b.config.topics()))
	recording, err := os.Open(file)
	must(t, err)
	defer recording.Close()
	_, wanted, err := replay(limited(t), recording, publisher.Publisher, 0)
	must(t, err)
	poll.Until(t, "everything to be stored", func() bool {
		status := b.Status()[0]
		return status.Holding && status.Heard == uint64(wanted) && status.QueueLength == 0
	})
	return carried{
		p: p, events: everything(t, p, pipeline.StreamONE), dead: everything(t, p, pipeline.StreamDead),
		log: log.String(), published: int(b.Status()[0].Published),
	}
}

// essence is what the golden test compares of an event.
type essence struct {
	Subject, Object, State, LCMState, Call string
	ID                                     int
	Ready                                  string
}

// The expected events are read off the recording's keys, without the code that
// is tested.
func TestTheRecordingBecomesExactlyItsEvents(t *testing.T) {
	state := regexp.MustCompile(`^EVENT STATE (VM|NET|HOST|IMAGE)/(\w+)/(\w*)/(\d+) $`)
	var want []essence
	for _, line := range fixtures.Lines[recorded](t, "zmq_events.jsonl") {
		if match := state.FindStringSubmatch(line.Key); match != nil {
			e := essence{Object: strings.ToLower(match[1]), State: match[2], LCMState: match[3]}
			fmt.Sscan(match[4], &e.ID)
			e.Subject = fmt.Sprintf("one.4.%s.%d.%s", e.Object, e.ID, e.State)
			if e.Object == "vm" {
				e.Subject += "." + e.LCMState
			}
			want = append(want, e)
		}
		if line.Key == "EVENT API one.vm.update 1" {
			// The recording has one: the guest of VM 29 reports that it is ready.
			want = append(want, essence{Subject: "one.4.api.vm.update.ok", Object: "api", Call: "one.vm.update", ID: 29, Ready: "yes"})
		}
	}
	got := carry(t, fixtures.Path(t, "zmq_events.jsonl"))
	if len(got.dead) != 0 {
		t.Errorf("%d dead letters, first %s", len(got.dead), got.dead[0].Data)
	}
	var have []essence
	for _, message := range got.events {
		have = append(have, essenceOf(t, message))
	}
	if !reflect.DeepEqual(have, want) {
		for i := range min(len(have), len(want)) {
			if have[i] != want[i] {
				t.Fatalf("event %d of %d is\n%+v, want\n%+v", i+1, len(want), have[i], want[i])
			}
		}
		t.Fatalf("%d events, want %d", len(have), len(want))
	}
	checkMessageIDs(t, got.events)
}

func essenceOf(t *testing.T, message stored) essence {
	t.Helper()
	var event pipeline.Event
	must(t, json.Unmarshal(message.Data, &event))
	if event.Zone != 4 || event.Version != pipeline.Version || event.Heard.IsZero() || event.Resync || (event.Object == "vm") != (event.VM != nil) {
		t.Errorf("event %s", message.Data)
	}
	if event.VM != nil && (event.VM.ID != event.ID || event.VM.State.String() != event.State || event.VM.LCMState.String() != event.LCMState) {
		t.Errorf("the VM is not the event's: %s", message.Data)
	}
	e := essence{Subject: message.Subject, Object: event.Object, State: event.State, LCMState: event.LCMState, Call: event.Call, ID: event.ID}
	if event.Ready != nil {
		e.Ready = map[bool]string{true: "yes", false: "no"}[*event.Ready]
	}
	return e
}

func checkMessageIDs(t *testing.T, messages []stored) {
	t.Helper()
	seen := map[string]bool{}
	for _, message := range messages {
		id := message.Header["Nats-Msg-Id"]
		if len(id) != 1 || !messageID.MatchString(id[0]) || seen[id[0]] {
			t.Errorf("message id %q", id)
		}
		seen[id[0]] = true
	}
}

var messageID = regexp.MustCompile(`^[0-9a-f]{16}-\w{22}-[0-9]+$`)

var heard = regexp.MustCompile(`"heard":"[^"]*"`)

// The recording in testdata is our own: healthy events, every way in which one
// can be broken, and secrets wherever users can put them.
func TestMalformedEventsAreKeptAsideAndTheFeedGoesOn(t *testing.T) {
	got := carry(t, filepath.Join("testdata", "events.jsonl"))
	var text bytes.Buffer
	for _, message := range got.events {
		fmt.Fprintf(&text, "%s %s\n", message.Subject, heard.ReplaceAll(message.Data, []byte(`"heard":"T"`)))
	}
	for _, message := range got.dead {
		var letter deadLetter
		must(t, json.Unmarshal(message.Data, &letter))
		fmt.Fprintf(&text, "%s frames=%d bytes=%d reason=%s\n", message.Subject, letter.Frames, letter.Bytes, message.Header[pipeline.HeaderReason][0])
		if letter.Key == "" || letter.Heard.IsZero() || letter.Endpoint == "" || letter.Bytes > 0 && len(letter.SHA256) != 64 {
			t.Errorf("a dead letter says too little: %s", message.Data)
		}
	}
	golden := filepath.Join("testdata", "events.golden")
	if *update {
		must(t, os.WriteFile(golden, text.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(text.Bytes(), want) {
		t.Errorf("the events are\n%s\nwant\n%s", text.Bytes(), want)
	}
	checkMessageIDs(t, got.events)
	checkNoSecrets(t, got)
}

func checkNoSecrets(t *testing.T, got carried) {
	t.Helper()
	const secret = "PLANTED-SECRET"
	if plain, err := os.ReadFile(filepath.Join("testdata", "events.jsonl")); err != nil || !bytes.Contains(plain, []byte(secret)) {
		t.Fatal("the recording has no secrets planted in it")
	}
	for _, message := range append(got.events, got.dead...) {
		all := fmt.Sprint(message.Subject, message.Header, string(message.Data))
		if strings.Contains(all, secret) || strings.Contains(all, "UExBTlRFRC") {
			t.Errorf("a secret has passed: %s", all)
		}
	}
	if len(got.events) == 0 || len(got.dead) == 0 {
		t.Error("nothing was looked through")
	}
	if strings.Contains(got.log, secret) {
		t.Errorf("a secret is in the log:\n%s", got.log)
	}
}

func TestReplayCommand(t *testing.T) {
	p := newPipeline(t)
	out := &testlog.Log{}
	done := make(chan error, 1)
	go func() {
		done <- Replay(limited(t), ReplayConfig{File: filepath.Join("testdata", "events.jsonl"), Listen: "127.0.0.1:0", Speed: 1000, Out: out})
	}()
	address := regexp.MustCompile(`tcp://[\d.:]+`)
	poll.Until(t, "the replay to listen", func() bool { return address.MatchString(out.String()) })
	b := New(Config{Endpoints: []string{address.FindString(out.String())}, Events: servicesNeed}, p, nil)
	startBridge(t, b)
	must(t, <-done)
	if !strings.Contains(out.String(), "published 38 events, of which 23 had a subscriber") {
		t.Errorf("told %q", out)
	}
	poll.Until(t, "all events to be heard", func() bool { return b.Status()[0].Heard == 23 })
}

func TestReplayErrors(t *testing.T) {
	publisher := newTestPublisher(t, "127.0.0.1:0")
	broken := filepath.Join(t.TempDir(), "broken.jsonl")
	must(t, os.WriteFile(broken, []byte("{\"key\":\"RETRY\"}\n\nnot JSON\n"), 0o600))
	cases := map[string]ReplayConfig{
		"open the recording": {File: filepath.Join(t.TempDir(), "missing"), Listen: "127.0.0.1:0"},
		"is oned, or":        {File: broken, Listen: publisher.address()},
		"a speed is":         {File: broken, Listen: "127.0.0.1:0", Speed: -1},
	}
	for want, config := range cases {
		if err := Replay(limited(t), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	file, err := os.Open(broken)
	must(t, err)
	defer file.Close()
	if sent, _, err := replay(limited(t), file, publisher.Publisher, 0); err == nil || !strings.Contains(err.Error(), "line 3") || sent != 1 {
		t.Errorf("%d sent, %v", sent, err)
	}
}
