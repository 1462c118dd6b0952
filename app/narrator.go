package app

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
)

// narrator writes a line for each thing that happens, as it is published.
type narrator struct {
	mutex sync.Mutex
	out   io.Writer
	subs  []*nats.Subscription
}

func startNarrator(conn *nats.Conn, out io.Writer) (*narrator, error) {
	n := &narrator{out: out}
	handlers := map[string]nats.MsgHandler{
		pipeline.SubjectsFlow: n.transition,
		pipeline.SubjectsONE:  n.event,
		pipeline.SubjectsDead: n.dead,
	}
	for subject, handler := range handlers {
		sub, err := conn.Subscribe(subject, handler)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", subject, err)
		}
		n.subs = append(n.subs, sub)
	}
	return n, nil
}

func (n *narrator) stop() error {
	for _, sub := range n.subs {
		if err := sub.Unsubscribe(); err != nil {
			return fmt.Errorf("stop watching %s: %w", sub.Subject, err)
		}
	}
	return nil
}

func (n *narrator) line(at time.Time, format string, arguments ...any) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	fmt.Fprintf(n.out, "%s  %s\n", at.Local().Format("15:04:05.000"), fmt.Sprintf(format, arguments...))
}

// event tells the VM events of services only: an idle zone stays quiet.
func (n *narrator) event(msg *nats.Msg) {
	var event pipeline.Event
	if json.Unmarshal(msg.Data, &event) != nil || event.Version == 0 {
		return
	}
	switch {
	case event.VM != nil && event.VM.Service >= 0:
		n.line(event.Heard, "event       %s (service %d)", event.Title(), event.VM.Service)
	case event.Ready != nil:
		n.line(event.Heard, "event       %s READY=%t", event.Title(), *event.Ready)
	}
}

func (n *narrator) transition(msg *nats.Msg) {
	var t pipeline.Transition
	if json.Unmarshal(msg.Data, &t) != nil || t.Version == 0 {
		return
	}
	n.line(t.Time, "service %-3d %s", t.Service, Sentence(t))
}

func (n *narrator) dead(msg *nats.Msg) {
	n.line(time.Now(), "dead letter %s: %s", msg.Subject, msg.Header.Get(pipeline.HeaderReason))
}

// Sentence says in one line what a transition is and what caused it.
func Sentence(t pipeline.Transition) string {
	what := subject(t)
	switch {
	case t.Old != "":
		what += fmt.Sprintf("%s -> %s", t.Old, t.New)
	default:
		what += t.New
	}
	if t.Reason != "" {
		what += " (" + t.Reason + ")"
	}
	return fmt.Sprintf("%-52s [%s %s]", what, t.Cause.Kind, t.Cause.ID)
}

// subject names what a transition happened to; the service itself needs no name.
func subject(t pipeline.Transition) string {
	switch {
	case t.Kind == "vm" && t.VM != nil:
		return fmt.Sprintf("role %s: VM %d ", t.Role, *t.VM)
	case t.Kind == "role":
		return fmt.Sprintf("role %s: ", t.Role)
	case t.Kind == "network":
		return fmt.Sprintf("network %s%s: ", t.Network, numbered(t.ID))
	case t.Kind == "router":
		return fmt.Sprintf("role %s: virtual router%s: ", t.Role, numbered(t.ID))
	}
	return ""
}

// numbered is the id of what may not have one yet.
func numbered(id *int) string {
	if id == nil {
		return ""
	}
	return fmt.Sprintf(" %d", *id)
}
