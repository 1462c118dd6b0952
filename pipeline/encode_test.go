package pipeline

import (
	"reflect"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
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
			filled(value.Field(i), number)
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

func TestEventsAreEncodedAsTheGeneralEncoderDoes(t *testing.T) {
	var full Event
	number := 0
	filled(reflect.ValueOf(&full).Elem(), &number)
	no := false
	for _, event := range []Event{
		{}, full, {VM: &flow.VM{}}, {Ready: &no, Heard: time.Now()}, {Object: "vm", ID: -1, VM: &flow.VM{Service: -1, Name: "plain"}},
		{Host: "\xff\u2028", State: "A\\B", Call: "one.vm.update", OK: true}, {Heard: time.Now().UTC()},
	} {
		if got, want := string(EncodeEvent(event)), string(Encode(event)); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		work := Work{Version: 1, Service: 7, Event: &event}
		if got, want := string(EncodeWork(work)), string(Encode(work)); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
	var work Work
	for i := range reflect.TypeFor[Work]().NumField() {
		field := reflect.ValueOf(&work).Elem().Field(i)
		switch field.Kind() {
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		case reflect.Pointer:
			field.Set(reflect.New(field.Type().Elem()))
		default:
			filled(field, &number)
		}
		if got, want := string(EncodeWork(work)), string(Encode(work)); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
}

func FuzzEncodeEvent(f *testing.F) {
	f.Add("vm", "web", "host <1>", 7, true)
	f.Fuzz(func(t *testing.T, object, name, host string, id int, yes bool) {
		event := Event{Object: object, Host: host, ID: id, OK: yes, Ready: &yes, VM: &flow.VM{ID: id, Name: name, Role: host, Ready: yes}}
		if got, want := string(EncodeEvent(event)), string(Encode(event)); got != want {
			t.Fatalf("%s\nwant\n%s", got, want)
		}
	})
}
