package sim

import (
	"fmt"
	"slices"
	"sync"
	"time"

	fastbase64 "github.com/segmentio/asm/base64"

	"github.com/flowjet/flowjet/internal/zmqpub"
	"github.com/flowjet/flowjet/sim/internal/clock"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// hooks is the hook manager's publisher: it passes events in order through the configured faults to the socket.
type hooks struct {
	clock     *clock.Clock // publishes events once it is started
	published func(endpoint, key string, body []byte)

	mu      sync.Mutex
	delayed int       // how many events wait, at most maxDelayed
	due     time.Time // when the last of the delayed events is published: none overtakes it
	socket  *zmqpub.Publisher
	faults  eventFaults
	counted EventCounts
}

// eventFaults are the faults of the next events: how many are lost, published twice, and held to be published in reverse
// once the last of them has come; and the delay of every event.
type eventFaults struct {
	drop, double, reorder int
	delay                 time.Duration
	held                  []event
}

// EventCounts counts events (not copies of them).
type EventCounts struct {
	Published int `json:"published"` // handed to the socket, even if there was no subscriber
	Lost      int `json:"lost"`      // dropped on purpose or fell into a restart
}

// maxDelayed bounds the memory of events that wait; further ones are lost.
const maxDelayed = 200_000

// publish passes events in order through the faults.
func (h *hooks) publish(events []event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		switch f := &h.faults; {
		case f.drop > 0:
			f.drop--
			h.counted.Lost++
		case f.reorder > 0:
			f.reorder--
			f.held = append(f.held, e)
			h.releaseHeld()
		default:
			h.enqueue(e)
			if f.double > 0 {
				f.double--
				h.enqueue(e)
			}
		}
	}
}

// releaseHeld publishes held events, the last first, once no more are to be held.
func (h *hooks) releaseHeld() {
	if h.faults.reorder > 0 {
		return
	}
	for _, e := range slices.Backward(h.faults.held) {
		h.enqueue(e)
	}
	h.faults.held = nil
}

func (h *hooks) enqueue(e event) {
	if h.delayed == maxDelayed {
		h.counted.Lost++
		return
	}
	h.delayed++
	if due := time.Now().Add(h.faults.delay); due.After(h.due) {
		h.due = due
	}
	h.clock.At(h.due, func() { h.send(e) })
}

func (h *hooks) send(e event) {
	h.mu.Lock()
	h.delayed--
	socket := h.socket
	if socket == nil {
		h.counted.Lost++
		h.mu.Unlock()
		return
	}
	h.counted.Published++
	h.mu.Unlock()
	for _, key := range e.keys {
		if h.published != nil {
			h.published("tcp://"+socket.Addr(), key, e.body)
		}
		socket.Send([]byte(key), e.body)
	}
}

// attach sends events to a socket; nil loses them.
func (h *hooks) attach(socket *zmqpub.Publisher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.socket = socket
}

// change calls a function with the faults.
func (h *hooks) change(what func(f *eventFaults)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	what(&h.faults)
	h.releaseHeld()
}

// DropEvents loses the next n events, each with all its copies.
func (h *hooks) DropEvents(n int) { h.change(func(f *eventFaults) { f.drop = n }) }

// Events returns the counts of events.
func (h *hooks) Events() EventCounts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counted
}

// event is an event that is published under each of its keys with the same body, which is in base64.
type event struct {
	keys []string
	body []byte
}

// newEvent returns an event with the body from the writer, which it releases.
func newEvent(w *xmlrpc.Writer, keys ...string) event {
	body := make([]byte, fastbase64.StdEncoding.EncodedLen(w.Len()))
	fastbase64.StdEncoding.Encode(body, w.Bytes())
	w.Release()
	return event{keys: keys, body: body}
}

// vmEvent returns a VM's change of state: under the key by VM, the key by state, and the service's if it has one. The
// trailing blanks are real.
func vmEvent(v *vm) event {
	state, lcm := v.State.String(), v.LCM.String()
	id := itoa(v.ID)
	keys := []string{
		"EVENT VM " + id + "/" + state + "/" + lcm + " ",
		"EVENT STATE VM/" + state + "/" + lcm + "/" + id + " ",
	}
	w := xmlrpc.NewWriter()
	w.Open("HOOK_MESSAGE")
	w.Fields("HOOK_TYPE", "STATE", "HOOK_OBJECT", "VM", "STATE", state, "LCM_STATE", lcm, "RESOURCE_ID", v.ID)
	if service := v.UserTemplate.Text("SERVICE_ID"); service != "" {
		keys = append(keys, "EVENT SERVICE "+service+" ")
		w.Fields("SERVICE_ID", service)
	}
	if host := v.hostName(); host == "" {
		w.WriteString("<REMOTE_HOST/>")
	} else {
		w.Fields("REMOTE_HOST", host)
	}
	w.Within(vms.element, v.writeLong)
	w.Shut("HOOK_MESSAGE")
	return newEvent(w, keys...)
}

func networkEvent(n *network) event {
	w := xmlrpc.NewWriter()
	w.Open("HOOK_MESSAGE")
	w.Fields("HOOK_TYPE", "STATE", "HOOK_OBJECT", "NET", "STATE", n.State.String(), "RESOURCE_ID", n.ID)
	w.Within(networks.element, func(w *xmlrpc.Writer) { n.write(w, eventForm) })
	w.Shut("HOOK_MESSAGE")
	return newEvent(w,
		fmt.Sprintf("EVENT NET %d/%s/ ", n.ID, n.State),
		fmt.Sprintf("EVENT STATE NET/%s//%d ", n.State, n.ID))
}

// hidden replaces a session or a password.
const hidden = "****"

// apiEvent returns the event of an answered call. As in oned, values are not escaped: a parameter with < or & makes the
// body malformed. extra is the whole object if the call made or removed one.
func apiEvent(method string, parameters []xmlrpc.Value, secrets []int, a answer, extra string) event {
	result, published := 1, []string{"true", fmt.Sprint(a.value), "0"}
	if a.refusal != nil {
		result = 0
		published = []string{"false", "[" + method + "] " + a.refusal.message, itoa(int(a.refusal.code)), itoa(a.refusal.object)}
	}
	w := xmlrpc.NewWriter()
	parameter := func(i int, direction, text string) {
		fmt.Fprintf(w, "<PARAMETER><POSITION>%d</POSITION><TYPE>%s</TYPE><VALUE>%s</VALUE></PARAMETER>", i+1, direction, text)
	}
	fmt.Fprintf(w, "<HOOK_MESSAGE><HOOK_TYPE>API</HOOK_TYPE><CALL>%s</CALL><CALL_INFO><RESULT>%d</RESULT><PARAMETERS>", method, result)
	for i, given := range parameters {
		text := given.Published()
		if i == 0 || slices.Contains(secrets, i) {
			text = hidden
		}
		parameter(i, "IN", text)
	}
	for i, text := range published {
		parameter(i, "OUT", text)
	}
	fmt.Fprintf(w, "</PARAMETERS><EXTRA>%s</EXTRA></CALL_INFO></HOOK_MESSAGE>", extra)
	return newEvent(w, fmt.Sprintf("EVENT API %s %d", method, result))
}
