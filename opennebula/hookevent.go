package opennebula

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	fastbase64 "github.com/segmentio/asm/base64"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// ObjectAPI is the object of events of calls.
const ObjectAPI = "api"

// HookKey is the first frame of a hook event, of one of the two forms that together tell all: EVENT STATE and EVENT API.
type HookKey struct {
	// Object is vm, net, host, image or ObjectAPI.
	Object string
	// ID is the object's; a call has it in the body.
	ID              int
	State, LCMState string
	// Call and OK are set for ObjectAPI.
	Call string
	OK   bool
}

// StateSubscription is the ZeroMQ subscription for every object's state changes, each once.
// Together with CallSubscription it covers all events.
const StateSubscription = "EVENT STATE "

// CallSubscription returns the ZeroMQ subscription for one API call, or with one.vm.* for all calls about VMs.
func CallSubscription(call string) string {
	if about, all := strings.CutSuffix(call, "*"); all {
		return "EVENT API " + about
	}
	return "EVENT API " + call + " "
}

var hookObjects = map[string]string{"VM": "vm", "NET": "net", "HOST": "host", "IMAGE": "image"}

// ParseKey reads a key of the two forms; the error is a *DecodeError. Real keys of state changes end with a blank.
func ParseKey(key string) (HookKey, error) {
	if len(key) > maxKeySize {
		return HookKey{}, decodeError(key, ReasonKey, fmt.Errorf("it has %d bytes", len(key)))
	}
	var space [5]string
	words := space[:0]
	for word := range strings.FieldsSeq(key) {
		words = append(words, word)
	}
	parsed, reason, err := parseKey(words)
	if reason != "" {
		return HookKey{}, decodeError(key, reason, err)
	}
	return parsed, nil
}

// parseKey returns a reason, and perhaps an error, if the words are no key.
func parseKey(words []string) (key HookKey, reason Reason, err error) {
	switch {
	case len(words) < 3 || words[0] != "EVENT":
		return key, ReasonKey, nil
	case words[1] == "API":
		if len(words) != 4 || words[3] != "0" && words[3] != "1" {
			return key, ReasonKey, errors.New("a call and 0 or 1 must follow EVENT API")
		}
		if !strings.HasPrefix(words[2], "one.") {
			return key, ReasonKey, errors.New("the name of a call must begin with \"one.\"")
		}
		return HookKey{Object: ObjectAPI, Call: words[2], OK: words[3] == "1"}, "", nil
	case len(words) != 3 || words[1] != "STATE":
		return key, ReasonKey, nil
	}
	var space [5]string
	parts := space[:0]
	for part := range strings.SplitSeq(words[2], "/") { // VM/ACTIVE/RUNNING/21 and NET/READY//2
		parts = append(parts, part)
	}
	last := len(parts) - 1
	if last < 2 || last > 3 {
		return key, ReasonKey, errors.New("OBJECT/STATE/LCM_STATE/id must follow EVENT STATE")
	}
	if key.Object = hookObjects[parts[0]]; key.Object == "" {
		return key, ReasonObject, nil
	}
	if key.ID, err = parseID(parts[last]); err != nil {
		return key, ReasonKey, err
	}
	if key.State = parts[1]; last == 3 {
		key.LCMState = parts[2]
	}
	// Only names are accepted as states: they become parts of subjects.
	for _, state := range parts[1:last] {
		foreign := strings.IndexFunc(state, func(c rune) bool { return (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9') }) >= 0
		if foreign || len(state) > 64 || key.State == "" {
			return key, ReasonKey, fmt.Errorf("%q and %q are not state names", key.State, key.LCMState)
		}
	}
	if key.Object == "vm" && key.LCMState == "" {
		return key, ReasonKey, errors.New("a VM's key must have an LCM_STATE")
	}
	return key, "", nil
}

func parseID(text string) (int, error) {
	id, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not an id", text)
	}
	return int(id), nil
}

// HookEvent is a hook event, reduced to the data that a service needs.
type HookEvent struct {
	// HookKey has as the ID of ObjectAPI the one for which the call was made (its
	// first argument after the session), -1 if that is no id.
	HookKey
	// VM is set for object vm.
	VM *one.VM
	// Host is a VM's REMOTE_HOST.
	Host string
	// Ready is set if a successful one.vm.update wrote READY, or removed it
	// by replacing the whole user template.
	Ready *bool
}

// MaxEventSize bounds the decoded body of a hook event, in bytes. Bodies of
// big VMs have some hundreds of KB.
const MaxEventSize = 16 << 20

const maxKeySize = 512

// Reason is the reason why a hook event could not be decoded.
type Reason string

// The reasons of a DecodeError.
const (
	ReasonKey      Reason = "the key is not known"
	ReasonObject   Reason = "the key has an unknown object"
	ReasonSize     Reason = "the body is too large"
	ReasonBase64   Reason = "the body is not base64"
	ReasonXML      Reason = "the body is not the expected XML"
	ReasonMismatch Reason = "the body does not match the key"
)

// DecodeError is returned for a hook event that could not be decoded. It names the key
// and never repeats the body, which may hold secrets.
type DecodeError struct {
	Key    string
	Reason Reason
	Err    error
}

// Error returns one line.
func (e *DecodeError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("hook event %q: %s: %v", e.Key, e.Reason, e.Err)
	}
	return fmt.Sprintf("hook event %q: %s", e.Key, e.Reason)
}

// Unwrap returns the cause, which may be nil.
func (e *DecodeError) Unwrap() error { return e.Err }

// decodeError returns a DecodeError with the key in a form to be shown: short and printable.
func decodeError(key string, reason Reason, err error) error {
	const longest = 120
	if len(key) > longest {
		key = key[:longest] + "..."
	}
	key = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, key)
	return &DecodeError{Key: key, Reason: reason, Err: err}
}

// EventDecoder decodes one event after the other in the same memory. It must not be
// used concurrently.
type EventDecoder struct{ text []byte }

// maxKept is the largest memory that a decoder keeps for the next event.
const maxKept = 1 << 20

// Decode reads a hook event from its two frames, of which the key has been parsed. The error is a *DecodeError.
func (d *EventDecoder) Decode(key string, parsed HookKey, body []byte) (HookEvent, error) {
	text, reason, err := d.decodeBody(body)
	if err != nil {
		return HookEvent{}, decodeError(key, reason, err)
	}
	event := HookEvent{HookKey: parsed}
	switch parsed.Object {
	case ObjectAPI:
		reason, err = event.readCall(text)
	case "vm":
		event.VM = new(one.VM)
		if event.Host, *event.VM, err = decodeVM(text); err != nil {
			reason = ReasonXML
		} else if event.VM.ID != event.ID {
			reason, err = ReasonMismatch, fmt.Errorf("it is about VM %d", event.VM.ID)
		}
	default:
		// A network's, host's or image's event must be complete; everything that is passed on
		// is in the key.
		id := -1
		r := onexml.New(text)
		r.Root()
		r.At(func() { id = r.Int() }, "RESOURCE_ID")
		if err = r.Err(); err != nil {
			reason = ReasonXML
		} else if id != event.ID {
			reason, err = ReasonMismatch, fmt.Errorf("its RESOURCE_ID is not %d", event.ID)
		}
	}
	if err != nil {
		return HookEvent{}, decodeError(key, reason, err)
	}
	return event, nil
}

// decodeBody's result is valid until the next event.
func (d *EventDecoder) decodeBody(body []byte) ([]byte, Reason, error) {
	size := base64.StdEncoding.DecodedLen(len(body))
	if size > MaxEventSize+3 {
		return nil, ReasonSize, fmt.Errorf("it has %d bytes of at most %d", size, MaxEventSize)
	}
	text := d.text
	if cap(text) < size {
		text = make([]byte, size)
		if size <= maxKept {
			d.text = text
		}
	}
	n, err := fastbase64.StdEncoding.Decode(text[:size:size], body)
	if err != nil {
		n, err = base64.StdEncoding.Decode(text[:size], body) // with the position
	}
	if err != nil {
		return nil, ReasonBase64, err
	}
	return text[:n], "", nil
}

// decodeVM reads a VM's state event. It names the VM's host, but lacks the
// history entry, which has not been added yet.
func decodeVM(text []byte) (host string, vm one.VM, err error) {
	has := false
	r := onexml.New(text)
	r.Root()
	r.Each(func(name []byte) {
		switch string(name) {
		case "REMOTE_HOST":
			host = r.String()
		case "VM":
			has, vm = true, readVM(r)
		}
	})
	if err := r.Err(); err != nil {
		return "", one.VM{}, err
	}
	if !has {
		return "", one.VM{}, errors.New("it has no VM")
	}
	vm.Host = ""
	return host, vm, nil
}
