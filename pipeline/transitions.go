package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Deleted is what stands for the state of a service that has ended.
const Deleted = "DELETED"

// TransitionMessage is the message of a transition. number counts a service's transitions
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

// ReadTransition is the transition that a stored message holds.
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
	if transition.Version < 1 || transition.Version > Version {
		return Transition{}, errors.New("its schema version is not supported")
	}
	return transition, nil
}

// TransitionSubject is where a transition is published.
func TransitionSubject(transition Transition) string {
	switch transition.Kind {
	case "role":
		return RoleEventSubject(transition.Service, transition.Role, transition.New)
	case "vm":
		if transition.VM != nil {
			return VMEventSubject(transition.Service, *transition.VM, transition.New)
		}
	case "network":
		return NetworkEventSubject(transition.Service, transition.Network, transition.New)
	case "router":
		return RouterEventSubject(transition.Service, transition.Role, transition.New)
	}
	return ServiceEventSubject(transition.Service, transition.New)
}
