package bridge

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/pipeline"
)

// addRecorded seeds with our own recording, and the real one where it is at hand.
func addRecorded(f *testing.F) {
	f.Helper()
	add := func(line recorded) {
		body := ""
		if line.Body != nil {
			body = *line.Body
		}
		f.Add(line.Key, []byte(body), len(line.More))
		if text, err := base64.StdEncoding.DecodeString(body); err == nil {
			f.Add(line.Key, text, -1)
		}
	}
	file, err := os.Open(filepath.Join("testdata", "events.jsonl"))
	must(f, err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line recorded
		must(f, json.Unmarshal(lines.Bytes(), &line))
		add(line)
	}
	const recording = "../../shared/fixtures/opennebula-7.4/zmq_events.jsonl"
	if _, err := os.Stat(recording); err != nil && os.Getenv("CI") != "true" {
		return
	}
	for _, line := range fixtures.Lines[recorded](f, "zmq_events.jsonl") {
		add(line)
	}
}

// FuzzTranslate: whatever is heard becomes an event that readers understand, a
// dead letter with a reason, or nothing. A negative number of further frames has
// the body encoded first.
func FuzzTranslate(f *testing.F) {
	addRecorded(f)
	pass, err := newFilter(append(servicesNeed, "one.vm.chown", "one.document.update"))
	must(f, err)
	translator := newDecoder(4, pass, "tcp://fuzz")
	f.Fuzz(func(t *testing.T, key string, body []byte, more int) {
		if more < 0 {
			body, more = []byte(base64.StdEncoding.EncodeToString(body)), 0
		}
		frames := [][]byte{[]byte(key), body}
		for range min(more, 3) {
			frames = append(frames, []byte("more"))
		}
		m := translator.translate(item{heard: time.Now(), frames: frames})
		switch {
		case !m.passes:
		case m.entry.isDeadLetter():
			checkLetter(t, m.entry)
		default:
			checkEvent(t, m.entry)
		}
	})
}

func checkLetter(t *testing.T, e entry) {
	t.Helper()
	var letter deadLetter
	if err := json.Unmarshal(e.data, &letter); err != nil || e.subject == "" || !utf8.ValidString(letter.Key) {
		t.Fatalf("dead letter %q: %s (%v)", e.subject, e.data, err)
	}
}

func checkEvent(t *testing.T, e entry) {
	t.Helper()
	var event pipeline.Event
	if err := json.Unmarshal(e.data, &event); err != nil {
		t.Fatalf("event %s: %v", e.data, err)
	}
	if event.Version != pipeline.Version || event.Object != e.object || event.ID != e.id || (event.Object == "vm") != (event.VM != nil) {
		t.Fatalf("event %s of %+v", e.data, e.objectID)
	}
	tokens := strings.Split(e.subject, ".")
	if len(tokens) < 5 || strings.ContainsAny(e.subject, " *>\t\r\n\x00") || strings.Contains(e.subject, "..") || len(e.hash) != hashLength {
		t.Fatalf("subject %q, hash %q", e.subject, e.hash)
	}
}
