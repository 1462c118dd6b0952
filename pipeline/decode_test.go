package pipeline

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
)

// eventsAsWritten are events of every form, with nothing in them that JSON escapes.
func eventsAsWritten() []Event {
	yes, no, heard := true, false, time.Date(2030, 1, 2, 3, 4, 5, 678900000, time.UTC)
	vm := flow.VM{ID: 21, Owner: flow.Identity{UID: 2, GID: 100, UName: "anna", GName: "users"}, State: 3, LCMState: 3, Service: -1}
	full := vm
	full.Name, full.Ready, full.Protected, full.Service, full.Role, full.Key = "web_0_(service_7)", true, true, 7, "web", "7-3"
	return []Event{
		{Version: 1, Object: "net", ID: 3, State: "READY", Heard: heard},
		{Version: 1, Object: "vm", ID: 21, State: "ACTIVE", LCMState: "RUNNING", VM: &vm, Heard: heard},
		{Version: 1, Zone: 4, Object: "vm", ID: 21, State: "ACTIVE", LCMState: "BOOT", VM: &full, Host: "node 1", Resync: true, Heard: heard},
		{Version: 1, Object: "api", ID: 21, Call: "one.vm.update", OK: true, Ready: &yes, Heard: heard},
		{Version: 1, Object: "api", ID: 0, Call: "one.vm.update", Ready: &no, Heard: heard.In(time.FixedZone("", 3600))},
	}
}

func worksAsWritten() []Work {
	works := []Work{
		{Version: 1, Service: 7},
		{Version: 1, Service: 7, Reason: "a new service"},
		{Version: 1, Service: 7, Trouble: []Trouble{{21, 3, 14}}},
		{Version: 1, Service: 7, Trouble: []Trouble{{21, 3, 14}, {22, 3, 14}}, Reason: "vm 21 ACTIVE/BOOT_FAILURE and 1 more"},
	}
	for _, event := range eventsAsWritten() {
		works = append(works, Work{Version: 1, Service: 7, Event: &event})
	}
	return works
}

func TestWhatIsWrittenHereIsReadInOnePass(t *testing.T) {
	for _, event := range eventsAsWritten() {
		checkOnePass(t, EncodeEvent(event), (*parser).event)
	}
	for _, work := range worksAsWritten() {
		checkOnePass(t, EncodeWork(work), (*parser).work)
	}
}

func checkOnePass[T any](t *testing.T, text []byte, inOnePass func(*parser) T) {
	t.Helper()
	p := parser{rest: text}
	if inOnePass(&p); !p.atEnd() {
		t.Errorf("%s was not read in one pass from %q on", text, p.rest)
	}
	checkRead(t, text, inOnePass)
}

// checkRead holds what is read against the general decoder.
func checkRead[T any](t *testing.T, data []byte, inOnePass func(*parser) T) {
	t.Helper()
	var want T
	wantErr := json.Unmarshal(data, &want)
	got, err := unmarshal(data, inOnePass)
	if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%q was read as %+v (%v), want %+v (%v)", data, got, err, want, wantErr)
	}
}

// FuzzDecode: whatever form an event or work has, it is read as encoding/json reads it.
func FuzzDecode(f *testing.F) {
	for _, event := range eventsAsWritten() {
		f.Add(EncodeEvent(event))
	}
	for _, work := range worksAsWritten() {
		f.Add(EncodeWork(work))
	}
	for _, odd := range []string{
		`{"v":1,"zone":01,"object":"vm","id":7,"heard":"2030-01-02T03:04:05Z"}`, `{"v":1,"zone":-0,"object":"vm","id":7,"heard":"2030-01-02T03:04:05Z"}`,
		`{"v":1,"zone":0,"object":"vm","id":9999999999,"heard":"2030-01-02T03:04:05Z"}`, `{"v":1,"zone":0,"object":"a\u00e4","id":7,"heard":"2030-01-02T03:04:05Z"}`,
		`{"v":1,"zone":0,"object":"vm","id":7,"heard":"yesterday"}`, `{"v":1,"zone":0,"object":"vm","id":7,"new":true,"heard":"2030-01-02T03:04:05Z"} `,
		`{"v":1,"service":7,"trouble":[]}`, `{"v":1,"service":7,"trouble":[{"vm":1,"state":3,"lcm_state":14},]}`, `{"v":1,"service":7,"reason":"new"}`,
		`{"v":1,"service":7,"event":{"v":1,"zone":0,"object":"","id":1.5,"heard":"2030-01-02T03:04:05Z"}}`, "", "{", `{"v":`, `{"v":-`,
	} {
		f.Add([]byte(odd))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := slices.Clone(data)
		checkRead(t, data, (*parser).event)
		checkRead(t, data, (*parser).work)
		if !slices.Equal(data, before) {
			t.Fatal("what was read has been changed")
		}
	})
}

func BenchmarkDecodeEvent(b *testing.B) {
	text := EncodeEvent(eventsAsWritten()[2])
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := unmarshalEvent(text)
			must(b, err)
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var event Event
			must(b, json.Unmarshal(text, &event))
		}
	})
}
