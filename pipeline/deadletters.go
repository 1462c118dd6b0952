package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// DeadLetter is a message on StreamDead: one that could not be understood or handled.
type DeadLetter struct {
	// Sequence is its number in StreamDead, Where the part that gave it up.
	Sequence uint64    `json:"sequence"`
	Where    string    `json:"where"`
	Reason   string    `json:"reason"`
	Time     time.Time `json:"time"`
	// Origin is the subject that it was on, empty where that is not known: then it cannot be sent again.
	Origin string `json:"origin,omitempty"`
	Data   []byte `json:"-"`
	// Header are the message's own headers.
	Header nats.Header `json:"-"`
}

// ReadDeadLetter is the dead letter that a stored message holds.
func ReadDeadLetter(message jetstream.RawStreamMsg) DeadLetter {
	return DeadLetter{
		Sequence: message.Sequence, Where: strings.TrimPrefix(message.Subject, DeadPrefix), Time: message.Time.UTC(),
		Reason: message.Header.Get(HeaderReason), Origin: message.Header.Get(HeaderOrigin), Data: message.Data, Header: message.Header,
	}
}

// Service is the service that the dead letter is about, -1 where it does not say.
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

// KeepsHeader reports whether a header belongs to a message, and not to the dead letter that was made of it.
func KeepsHeader(name string) bool {
	return strings.HasPrefix(name, "Flowjet-") && name != HeaderReason && name != HeaderOrigin && name != HeaderReplyTo
}
