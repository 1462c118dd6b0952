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

// The kinds of hook-event key. The short forms of an object's state change
// ("EVENT VM 21/ACTIVE/RUNNING ", "EVENT NET 2/READY/ ") have the object as
// their kind: vm, net, host, image.
const (
	KeyState   = "state"
	KeyService = "service"
	KeyAPI     = "api"
	KeyRetry   = "retry"
)

// HookKey is the first frame of a hook event.
type HookKey struct {
	Kind string
	// Object is vm, net, host or image in state changes of both forms.
	Object string
	// ID is the object's, or the service's for KeyService.
	ID              int
	State, LCMState string
	// Call and OK are set for KeyAPI.
	Call string
	OK   bool
}

// StateSubscription is the ZeroMQ subscription for every object's state
// changes, each once. Together with CallSubscription it covers all events that Decode
// understands.
const StateSubscription = "EVENT STATE "

// CallSubscription returns the ZeroMQ subscription for one API call, or with one.vm.* for all
// calls about VMs.
func CallSubscription(call string) string {
	if about, all := strings.CutSuffix(call, "*"); all {
		return "EVENT API " + about
	}
	return "EVENT API " + call + " "
}

var hookObjects = map[string]string{"VM": "vm", "NET": "net", "HOST": "host", "IMAGE": "image"}

// ParseKey reads any key that oned publishes; the error is a *DecodeError.
// Real keys end with a blank, except those of API calls.
func ParseKey(key string) (HookKey, error) {
	if len(key) > maxKeySize {
		return HookKey{}, decodeError(key, ReasonKey, fmt.Errorf("it has %d bytes", len(key)))
	}
	var space [5]string
	words := space[:0]
	for word := range strings.FieldsSeq(key) {
		words = append(words, word)
	}
	switch {
	case len(words) > 0 && words[0] == "RETRY":
		return HookKey{Kind: KeyRetry}, nil
	case len(words) < 3 || words[0] != "EVENT":
		return HookKey{}, decodeError(key, ReasonKey, nil)
	}
	parsed, err := parseEventKey(words[1], words[2:])
	switch {
	case err != nil:
		return HookKey{}, decodeError(key, ReasonKey, err)
	case parsed.Kind == "":
		return HookKey{}, decodeError(key, ReasonObject, nil)
	}
	return parsed, nil
}

// parseEventKey leaves the kind empty for an unknown object.
func parseEventKey(kind string, words []string) (key HookKey, err error) {
	switch {
	case kind == "API":
		if len(words) != 2 || words[1] != "0" && words[1] != "1" {
			return key, errors.New("a call and 0 or 1 must follow EVENT API")
		}
		if !strings.HasPrefix(words[0], "one.") {
			return key, errors.New("the name of a call must begin with \"one.\"")
		}
		return HookKey{Kind: KeyAPI, Call: words[0], OK: words[1] == "1"}, nil
	case len(words) != 1:
		return key, fmt.Errorf("it has %d words", len(words)+2)
	case kind == "SERVICE":
		key.Kind = KeyService
		key.ID, err = parseID(words[0])
		return key, err
	}
	var space [5]string
	parts := space[:0]
	for part := range strings.SplitSeq(words[0], "/") {
		parts = append(parts, part)
	}
	last := len(parts) - 1
	id, states := parts[0], parts[1:] // 21/ACTIVE/RUNNING and 2/READY/
	if key.Object = hookObjects[kind]; kind == "STATE" {
		if last < 2 || last > 3 {
			return key, errors.New("OBJECT/STATE/LCM_STATE/id must follow EVENT STATE")
		}
		key.Object, id, states = hookObjects[parts[0]], parts[last], parts[1:last] // VM/ACTIVE/RUNNING/21 and NET/READY//2
	} else if key.Object != "" && (last < 1 || last > 2) {
		return key, fmt.Errorf("id/STATE/LCM_STATE must follow EVENT %s", kind)
	}
	if key.Object == "" {
		return key, nil
	}
	if key.Kind = key.Object; kind == "STATE" {
		key.Kind = KeyState
	}
	if key.ID, err = parseID(id); err != nil {
		return key, err
	}
	if key.State = states[0]; len(states) > 1 {
		key.LCMState = states[1]
	}
	// Only names are accepted as states: they become parts of subjects.
	for _, state := range states {
		foreign := strings.IndexFunc(state, func(c rune) bool { return (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9') }) >= 0
		if foreign || len(state) > 64 || key.State == "" {
			return key, fmt.Errorf("%q and %q are not state names", key.State, key.LCMState)
		}
	}
	if key.Object == "vm" && key.LCMState == "" {
		return key, errors.New("a VM's key must have an LCM_STATE")
	}
	return key, nil
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
	// Object is vm, net, host, image or api.
	Object string
	// ID is the object's; for api the id for which the call was made (its
	// first argument after the session), -1 if that is no id.
	ID              int
	State, LCMState string
	// VM is set for object vm.
	VM *one.VM
	// Host is a VM's REMOTE_HOST.
	Host string
	// Call and OK are set for object api.
	Call string
	OK   bool
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
	ReasonKey        Reason = "the key is not known"
	ReasonObject     Reason = "the key has an unknown object"
	ReasonNotCarried Reason = "this form of the event is not used"
	ReasonSize       Reason = "the body is too large"
	ReasonBase64     Reason = "the body is not base64"
	ReasonXML        Reason = "the body is not the expected XML"
	ReasonMismatch   Reason = "the body does not match the key"
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

// Decode reads a hook event from its two frames, of which the key has been parsed. Only the
// forms "EVENT STATE ..." and "EVENT API ..." are decoded: the others repeat them. The
// error is a *DecodeError.
func (d *EventDecoder) Decode(key string, parsed HookKey, body []byte) (HookEvent, error) {
	if parsed.Kind != KeyState && parsed.Kind != KeyAPI {
		return HookEvent{}, decodeError(key, ReasonNotCarried, nil)
	}
	text, reason, err := d.decodeBody(body)
	if err != nil {
		return HookEvent{}, decodeError(key, reason, err)
	}
	event := HookEvent{
		Object: parsed.Object, ID: parsed.ID, State: parsed.State, LCMState: parsed.LCMState,
		Call: parsed.Call, OK: parsed.OK,
	}
	switch {
	case parsed.Kind == KeyAPI:
		reason, err = event.readCall(text)
	case parsed.Object == "vm":
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
