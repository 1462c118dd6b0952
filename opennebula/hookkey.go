package opennebula

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
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
// changes, each once. With CallSubscription it covers all that Decode
// understands.
const StateSubscription = "EVENT STATE "

// CallSubscription is the ZeroMQ subscription for one API call, or with one.vm.* for all
// about VMs.
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
	if err != nil {
		return HookKey{}, decodeError(key, ReasonKey, err)
	}
	if parsed.Kind == "" {
		return HookKey{}, decodeError(key, ReasonObject, nil)
	}
	return parsed, nil
}

func parseEventKey(kind string, words []string) (HookKey, error) {
	switch {
	case kind == "API":
		if len(words) != 2 || words[1] != "0" && words[1] != "1" {
			return HookKey{}, errors.New("a call and 0 or 1 must follow EVENT API")
		}
		if !strings.HasPrefix(words[0], "one.") {
			return HookKey{}, errors.New("the name of a call must begin with \"one.\"")
		}
		return HookKey{Kind: KeyAPI, Call: words[0], OK: words[1] == "1"}, nil
	case len(words) != 1:
		return HookKey{}, fmt.Errorf("it has %d words", len(words)+2)
	case kind == "SERVICE":
		id, err := parseID(words[0])
		return HookKey{Kind: KeyService, ID: id}, err
	}
	var space [5]string
	parts := space[:0]
	for part := range strings.SplitSeq(words[0], "/") {
		parts = append(parts, part)
	}
	last := len(parts) - 1
	switch object, known := hookObjects[kind]; {
	case kind == "STATE" && (last < 2 || last > 3):
		return HookKey{}, errors.New("OBJECT/STATE/LCM_STATE/id must follow EVENT STATE")
	case kind == "STATE": // VM/ACTIVE/RUNNING/21 and NET/READY//2
		return parseStates(KeyState, hookObjects[parts[0]], parts[last], parts[1:last])
	case known && (last < 1 || last > 2):
		return HookKey{}, fmt.Errorf("id/STATE/LCM_STATE must follow EVENT %s", kind)
	default: // 21/ACTIVE/RUNNING and 2/READY/
		return parseStates(object, object, parts[0], parts[1:])
	}
}

// parseStates reads a key of an object's state change. An object that is not known leaves
// the kind empty. Only names are let through as states: they become parts of subjects.
func parseStates(kind, object, idText string, states []string) (HookKey, error) {
	if object == "" {
		return HookKey{}, nil
	}
	id, err := parseID(idText)
	if err != nil {
		return HookKey{}, err
	}
	key := HookKey{Kind: kind, Object: object, ID: id, State: states[0]}
	if len(states) > 1 {
		key.LCMState = states[1]
	}
	if !stateLike(key.State) || key.LCMState != "" && !stateLike(key.LCMState) {
		return HookKey{}, fmt.Errorf("%q and %q are not state names", key.State, key.LCMState)
	}
	if key.Object == "vm" && key.LCMState == "" {
		return HookKey{}, errors.New("a VM's key must have an LCM_STATE")
	}
	return key, nil
}

func stateLike(name string) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func parseID(text string) (int, error) {
	id, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not an id", text)
	}
	return int(id), nil
}
