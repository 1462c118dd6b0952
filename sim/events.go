package sim

import (
	"fmt"
	"slices"

	fastbase64 "github.com/segmentio/asm/base64"
)

// event is one thing that happened, to be published under each of its keys
// with the same body, which is in base64.
type event struct {
	keys []string
	body []byte
}

// newEvent takes the body from the writer, which it releases.
func newEvent(b *xmlWriter, keys ...string) event {
	body := make([]byte, fastbase64.StdEncoding.EncodedLen(b.Len()))
	fastbase64.StdEncoding.Encode(body, b.Bytes())
	b.release()
	return event{keys: keys, body: body}
}

// vmEvent is a VM's change of state: under the form by VM, the form by state,
// and the service's where it has one. The trailing blanks are real.
func vmEvent(v *vm, host string) event {
	state, lcm := v.State.String(), v.LCM.String()
	id := itoa(v.ID)
	keys := []string{
		"EVENT VM " + id + "/" + state + "/" + lcm + " ",
		"EVENT STATE VM/" + state + "/" + lcm + "/" + id + " ",
	}
	b := newXML(plainForm)
	stateHead(b, "VM", state)
	element(b, "LCM_STATE", lcm)
	number(b, "RESOURCE_ID", v.ID)
	if service := v.service(); service != "" {
		keys = append(keys, "EVENT SERVICE "+service+" ")
		element(b, "SERVICE_ID", service)
	}
	if host == "" {
		markup(b, "<REMOTE_HOST/>")
	} else {
		element(b, "REMOTE_HOST", host)
	}
	v.write(b, false)
	shut(b, "HOOK_MESSAGE")
	return newEvent(b, keys...)
}

// networkEvent is a virtual network's change of state.
func networkEvent(n *network) event {
	b := newXML(plainForm)
	stateHead(b, "NET", n.State.String())
	number(b, "RESOURCE_ID", n.ID)
	n.write(b, eventForm)
	shut(b, "HOOK_MESSAGE")
	return newEvent(b,
		fmt.Sprintf("EVENT NET %d/%s/ ", n.ID, n.State),
		fmt.Sprintf("EVENT STATE NET/%s//%d ", n.State, n.ID))
}

func stateHead(b *xmlWriter, kind, state string) {
	open(b, "HOOK_MESSAGE")
	element(b, "HOOK_TYPE", "STATE")
	element(b, "HOOK_OBJECT", kind)
	element(b, "STATE", state)
}

// hidden stands where a session or a password stood.
const hidden = "****"

// apiEvent is an answered call. As oned does it, values are not escaped: a
// parameter with < or & makes the body malformed. extra is the whole object
// where the call made or removed one.
func apiEvent(method string, parameters []value, secrets []int, a answer, extra string) event {
	b := newXML(plainForm)
	result := 0
	if a.ok() {
		result = 1
	}
	open(b, "HOOK_MESSAGE")
	element(b, "HOOK_TYPE", "API")
	element(b, "CALL", method)
	open(b, "CALL_INFO")
	number(b, "RESULT", result)
	open(b, "PARAMETERS")
	for i, parameter := range parameters {
		text := parameter.published()
		if i == 0 || slices.Contains(secrets, i) {
			text = hidden
		}
		apiParameter(b, i+1, "IN", text)
	}
	for i, text := range a.published(method) {
		apiParameter(b, i+1, "OUT", text)
	}
	shut(b, "PARAMETERS")
	open(b, "EXTRA")
	markup(b, extra)
	shut(b, "EXTRA")
	shut(b, "CALL_INFO")
	shut(b, "HOOK_MESSAGE")
	return newEvent(b, fmt.Sprintf("EVENT API %s %d", method, result))
}

func apiParameter(b *xmlWriter, position int, direction, text string) {
	open(b, "PARAMETER")
	number(b, "POSITION", position)
	element(b, "TYPE", direction)
	open(b, "VALUE")
	markup(b, text)
	shut(b, "VALUE")
	shut(b, "PARAMETER")
}

// published are an answer's values as an API event shows them.
func (a answer) published(method string) []string {
	switch {
	case a.refusal != nil:
		return []string{"false", "[" + method + "] " + a.refusal.message, itoa(int(a.refusal.code)), itoa(a.refusal.object)}
	case a.isText:
		return []string{"true", a.text, "0"}
	}
	return []string{"true", itoa(a.number), "0"}
}
