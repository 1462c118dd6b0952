package opennebula

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/flowjet/flowjet/internal/fixtures"
)

// addRecorded seeds with recorded events where the recordings are at hand.
func addRecorded(f *testing.F, add func(line recordedEvent)) {
	const recording = "../../shared/fixtures/opennebula-7.4/zmq_events.jsonl"
	if _, err := os.Stat(recording); err != nil && os.Getenv("CI") != "true" {
		return
	}
	for _, line := range fixtures.Lines[recordedEvent](f, "zmq_events.jsonl") {
		add(line)
	}
}

func checkDecodeError(t *testing.T, err error) {
	t.Helper()
	var decode *DecodeError
	if !errors.As(err, &decode) || decode.Reason == "" {
		t.Fatalf("not a DecodeError with a reason: %v", err)
	}
	if message := err.Error(); strings.ContainsAny(message, "\n\r\x00") || !utf8.ValidString(message) {
		t.Fatalf("not one readable line: %q", message)
	}
}

func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{"", "RETRY", runningKey, updateKey, "EVENT SERVICE 7 ", "EVENT NET 2/READY/ ", "EVENT STATE A/B/C/\xff"} {
		f.Add(seed)
	}
	addRecorded(f, func(line recordedEvent) { f.Add(line.Key) })
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseKey(text)
		if err != nil {
			checkDecodeError(t, err)
			return
		}
		if key.ID < 0 || key.Object == "" || strings.ContainsAny(key.State+key.LCMState, ".*> \t\n") {
			t.Fatalf("%q became %+v", text, key)
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add(runningKey, []byte(vmMessage(7, "<READY>YES</READY>")))
	f.Add(updateKey, []byte(updateMessage("7", "READY=YES", "1")))
	f.Add(updateKey, []byte(updateMessage("7", "<T><READY>YES</READY></T>", "0")))
	f.Add(updateKey, []byte(updateMessage("7", "V=[A=\"]\"]\n#x\nREADY=\"", "0")))
	f.Add("EVENT STATE NET/READY//2 ", []byte("<HOOK_MESSAGE><RESOURCE_ID>2</RESOURCE_ID></HOOK_MESSAGE>"))
	f.Add(runningKey, []byte("\xff\xfe<&#1;&#xFFFE;&#;]]>"))
	addRecorded(f, func(line recordedEvent) {
		if body, err := base64.StdEncoding.DecodeString(line.Body); err == nil {
			f.Add(line.Key, body)
		}
	})
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		if _, err := decodeEvent(key, body); err != nil {
			checkDecodeError(t, err)
		}
		event, err := decodeEvent(key, []byte(base64.StdEncoding.EncodeToString(body)))
		if err != nil {
			checkDecodeError(t, err)
			return
		}
		if (event.Object == "vm") != (event.VM != nil) {
			t.Fatalf("%q became %+v", key, event)
		}
		if _, err := json.Marshal(event); err != nil {
			t.Fatal(err)
		}
	})
}
