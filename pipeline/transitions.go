package pipeline

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
)

// Deleted is shown as the state of a service that has ended.
const Deleted = "DELETED"

// Cause is the cause of a transition.
type Cause struct {
	// Kind is event, command, timer, measures or wake.
	Kind string `json:"kind"`
	// ID is the command's verb and id, the timer's name, the event's
	// subject-like name ("vm 21 ACTIVE/RUNNING"), or the reason of a wake-up.
	ID string `json:"id,omitempty"`
	// Sequence is the input's in StreamWork.
	Sequence uint64 `json:"sequence"`
	// User is the sender of the command.
	User string `json:"user,omitempty"`
}

// Transition is a message on StreamFlow.
type Transition struct {
	Version int `json:"v"`
	Service int `json:"service"`
	flow.Change
	Cause Cause `json:"cause"`
	// Did are the actions of the decision, a few words each: "create VM
	// Slave_0_(service_42)". Only the decision's last transition has it.
	Did []string `json:"did,omitempty"`
	// Next is what an operator can do about a service in trouble.
	Next string    `json:"next,omitempty"`
	Time time.Time `json:"time"`
	// MessageID is the message's id, "<service>-<number>", and Webhooks are the receivers
	// that the service named. They are in headers.
	MessageID string         `json:"-"`
	Webhooks  []spec.Webhook `json:"-"`
}

// TransitionMessage returns the message of a transition. number counts a service's transitions
// and makes the message id.
func TransitionMessage(transition Transition, number uint64) *nats.Msg {
	transition.Version = Version
	message := nats.NewMsg(TransitionSubject(transition))
	message.Data = Encode(transition)
	message.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%d-%d", transition.Service, number))
	if len(transition.Webhooks) > 0 {
		message.Header.Set(HeaderWebhooks, string(Encode(transition.Webhooks)))
	}
	return message
}

// ReadTransition returns the transition of a stored message, also a newer Flowjet's: webhooks and event streams would lack it.
func ReadTransition(message jetstream.RawStreamMsg) (Transition, error) {
	var transition Transition
	if err := json.Unmarshal(message.Data, &transition); err != nil {
		return Transition{}, err
	}
	transition.MessageID = message.Header.Get(jetstream.MsgIDHeader)
	if named := message.Header.Get(HeaderWebhooks); named != "" {
		if err := json.Unmarshal([]byte(named), &transition.Webhooks); err != nil {
			return Transition{}, err
		}
	}
	if transition.Version < 1 {
		return Transition{}, errors.New("its schema version is not supported")
	}
	return transition, nil
}

// Title names the cause in a few words, with its id: "command scale 4C5R of anna".
func (c Cause) Title() string {
	title := strings.TrimSpace(c.Kind + " " + c.ID)
	if c.User != "" {
		title += " of " + c.User
	}
	return title
}

// timerTexts describe the timers.
var timerTexts = map[string]string{
	flow.DeadlineCheck:    "a periodic check was due",
	flow.DeadlineStay:     "a deadline passed",
	flow.DeadlineCooldown: "the cooldown was over",
	flow.DeadlineSchedule: "a scheduled policy was due",
	flow.DeadlineRefill:   "its roles were compared with their min_vms",
	flow.DeadlineHeal:     "a failed VM was due to be healed",
	flow.DeadlineRetry:    "a call that oned had refused was retried",
}

// Text describes the cause in plain words: "VM 21 became RUNNING".
func (c Cause) Text() string {
	verb, _, _ := strings.Cut(c.ID, " ")
	switch c.Kind {
	case "command":
		return fmt.Sprintf("%s requested %s", cmp.Or(c.User, "a user"), verb)
	case "timer":
		if text := timerTexts[verb]; text != "" {
			return text
		}
	case "measures":
		return "its VMs were measured"
	case "event":
		return c.eventText()
	case "wake":
		if c.ID == "" {
			return "it was checked"
		}
		return "it was checked: " + c.ID
	}
	return c.Title()
}

// eventText parses the result of Event.Title, and how many more VMs there were.
func (c Cause) eventText() string {
	words := strings.Fields(c.ID)
	if len(words) < 2 {
		return "several VMs changed at once"
	}
	id, rest := words[1], ""
	if words[0] == "one.vm.update" { // READY is written into the user template
		return "the user template of VM " + id + " was changed"
	}
	object, known := map[string]string{"vm": "VM", "net": "network"}[words[0]]
	if !known || len(words) < 3 {
		return c.Title()
	}
	if len(words) > 3 {
		rest = " " + strings.Join(words[3:], " ")
	}
	state, stage, _ := strings.Cut(words[2], "/")
	switch {
	case state == "DONE":
		return object + " " + id + " ended" + rest
	case state == "ACTIVE" && stage != "":
		state = stage
	}
	return object + " " + id + " became " + state + rest
}

// DeadLetter is a message on StreamDead: a message that could not be parsed or handled.
type DeadLetter struct {
	// Sequence is its number in StreamDead, Where the part that made it.
	Sequence uint64    `json:"sequence"`
	Where    string    `json:"where"`
	Reason   string    `json:"reason"`
	Time     time.Time `json:"time"`
	// Origin is the subject that it was on, empty if that is not known: then it cannot be sent again.
	Origin string `json:"origin,omitempty"`
	Data   []byte `json:"-"`
	// Header are the message's own headers.
	Header nats.Header `json:"-"`
}

// ReadDeadLetter returns the dead letter of a stored message.
func ReadDeadLetter(message jetstream.RawStreamMsg) DeadLetter {
	return DeadLetter{
		Sequence: message.Sequence, Where: strings.TrimPrefix(message.Subject, DeadPrefix), Time: message.Time.UTC(),
		Reason: message.Header.Get(HeaderReason), Origin: message.Header.Get(HeaderOrigin), Data: message.Data, Header: message.Header,
	}
}

// Service returns the service that the dead letter is about, -1 if that is not known.
func (l DeadLetter) Service() int {
	about := struct {
		Service *int `json:"service"`
	}{}
	if json.Unmarshal(l.Data, &about) == nil && about.Service != nil {
		return *about.Service
	}
	service := -1
	if strings.HasPrefix(l.Origin, "flow.work.") {
		if _, err := fmt.Sscanf(l.Origin, "flow.work.%d", &service); err != nil {
			return -1
		}
	}
	return service
}

// KeepsHeader reports whether a header belongs to a message, and not to the dead letter made of it.
func KeepsHeader(name string) bool {
	return strings.HasPrefix(name, "Flowjet-") && name != HeaderReason && name != HeaderOrigin && name != HeaderReplyTo
}
