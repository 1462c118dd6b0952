package pipeline

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
)

// filled sets every field of a struct to something that is not its zero value, so
// that a field that is added later cannot be forgotten.
func filled(value reflect.Value, number *int) {
	switch value.Kind() {
	case reflect.Struct:
		if value.Type() == reflect.TypeFor[time.Time]() {
			value.Set(reflect.ValueOf(time.Date(2030, 1, 2, 3, 4, 5, 678900000, time.UTC)))
			return
		}
		for i := range value.NumField() {
			if tag := value.Type().Field(i).Tag.Get("json"); tag != "-" {
				filled(value.Field(i), number)
			}
		}
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		filled(value.Elem(), number)
	case reflect.Int:
		*number++
		value.SetInt(int64(*number))
	case reflect.Bool:
		value.SetBool(true)
	case reflect.String:
		value.SetString("a \"<text>\" & \u00fcml\u00e4ut\n")
	default:
		panic("filled: an unknown kind of field: " + value.Kind().String())
	}
}

func filledEvent() (event Event) {
	number := 0
	filled(reflect.ValueOf(&event).Elem(), &number)
	return event
}

// Messages are written as versions of Flowjet did that had encoding/json write them, and either reads
// what the other wrote: both may run on one NATS.
func TestMessagesAreWrittenAsBefore(t *testing.T) {
	full := filledEvent()
	record := usualRecord()
	record.Outbox.Transitions[0].Time = time.Date(2030, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for _, message := range []any{
		Event{}, full, Event{Host: "\u2028", State: "A\\B", VM: &one.VM{}}, Work{Version: 1, Service: 7, Event: &full},
		Work{Trouble: []Trouble{{21, 3, 14}}, Reason: "vm 21"}, Work{Command: &flow.Command{Arguments: []byte(`{"a": "<"}`)}},
		record, Record{}, Reply{}, Transition{}, CommandStatus{}, Process{}, Lease{}, FeedBeat{}, WorkerBeat{},
	} {
		want, err := json.Marshal(message)
		must(t, err)
		if got := string(Encode(message)); got != string(want) {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		read, wanted := reflect.New(reflect.TypeOf(message)), reflect.New(reflect.TypeOf(message))
		must(t, Decode(want, read.Interface()))
		must(t, json.Unmarshal(want, wanted.Interface()))
		if !reflect.DeepEqual(read.Interface(), wanted.Interface()) {
			t.Errorf("%s is read as\n%+v\nwant\n%+v", want, read.Elem(), wanted.Elem())
		}
	}
}

// EncodeEvent writes what Encode writes, in the same order, but escapes only what JSON requires.
func TestEncodeEventWritesAsEncodeDoes(t *testing.T) {
	ready := false
	for _, event := range []Event{
		{}, filledEvent(), usualEvent(), {VM: &one.VM{}}, {Object: "api", Call: "one.vm.update", OK: true, Ready: &ready, Resync: true},
		{Host: "\u2028 \x01 \"\\ \t <&> \U0001f600", State: "\xff", Heard: time.Date(2030, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))},
	} {
		got, want := jsontext.Value(EncodeEvent(&event)), jsontext.Value(Encode(&event))
		must(t, got.Format())
		must(t, want.Format())
		if string(got) != string(want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func usualEvent() Event {
	return Event{
		Version: 1, Object: "vm", ID: 42, State: "ACTIVE", LCMState: "RUNNING", Host: "host-12", Heard: time.Date(2030, 1, 2, 3, 4, 5, 678900000, time.UTC),
		VM: &one.VM{
			ID: 42, Name: "web_0_(service_42)", Owner: one.Identity{UID: 5, GID: 100, UName: "tenant", GName: "users"},
			State: one.VMActive, LCMState: one.LCMRunning, Service: 42, Role: "web", Key: "42-web-0-abcdef0123456789",
		},
	}
}

func BenchmarkEncodeEvent(b *testing.B) {
	event := usualEvent()
	for name, encode := range map[string]func(*Event) []byte{"library": func(e *Event) []byte { return Encode(e) }, "bridge": EncodeEvent} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				encode(&event)
			}
		})
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	text := EncodeEvent(new(usualEvent()))
	b.ReportAllocs()
	for b.Loop() {
		_, err := DecodeEvent(text)
		must(b, err)
	}
}
