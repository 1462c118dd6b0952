package history

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

// The number of a service's last transition is its own, however alike another's id begins; of what is not ours everything is published again.
func TestTheNumberOfTheLastTransition(t *testing.T) {
	p, ctx := single(t), limited(t)
	ran := flow.Change{Kind: "service", New: "RUNNING"}
	for service, numbers := range map[int]uint64{4: 7, 42: 3, 421: 9} {
		must(t, p.PublishTransitions(ctx, []pipeline.Transition{{Service: service, Change: ran}, {Service: service, Change: ran}}, numbers-1))
	}
	for service, want := range map[int]uint64{4: 7, 42: 3, 421: 9, 2: 0, 0: 0} {
		if last, err := p.LastTransition(ctx, service); last != want || err != nil {
			t.Errorf("the last of service %d is number %d (%v), want %d", service, last, err, want)
		}
	}
	for id, want := range map[string]uint64{"": 0, "42": 0, "42-": 0, "42-x": 0, "42--1": 0, "42-99999999999999999999999": 0, "42-18": 18} {
		message := nats.NewMsg("flow.event.42.service.X")
		if id != "" {
			message.Header.Set(jetstream.MsgIDHeader, id)
		}
		_, err := p.JetStream().PublishMsg(ctx, message)
		must(t, err)
		if last, err := p.LastTransition(ctx, 42); last != want || err != nil {
			t.Errorf("behind a message with the id %q it is %d (%v), want %d", id, last, err, want)
		}
	}
}

// A transition that NATS never takes is known before it is tried: it would be tried for ever. One that is long but fits is published.
func TestWhatIsNeverPublished(t *testing.T) {
	p, ctx := single(t), limited(t)
	most := int(p.Conn().MaxPayload())
	change := func(size int) pipeline.Transition {
		return pipeline.Transition{Service: 42, Change: flow.Change{Kind: "service", New: "WARNING", Reason: strings.Repeat("x", size)}}
	}
	for size, fits := range map[int]bool{0: true, most - 1000: true, most: false, 2 * most: false} {
		checked := p.Check(change(size))
		published := p.PublishTransitions(ctx, []pipeline.Transition{change(size)}, uint64(size)+1)
		if (checked == nil) != fits || (published == nil) != fits || !fits && (!errors.Is(checked, pipeline.ErrUnpublishable) || !strings.Contains(published.Error(), "service 42")) {
			t.Errorf("of %d bytes: checked %v, published %v", size, checked, published)
		}
	}
}

// A reader goes on through restarts of the server, and ends with its Stop.
func TestReadingThroughRestarts(t *testing.T) {
	node, ctx := natstest.NewNode(t), limited(t)
	p := clientsOf(pipetest.Open(t, node.URL()))
	reader, err := p.ReadTransitions(ctx, 42, 0)
	must(t, err)
	for number := uint64(1); number <= 3; number++ {
		must(t, p.PublishTransitions(ctx, []pipeline.Transition{{Service: 42, Change: flow.Change{Kind: "service", New: "RUNNING"}}}, number))
		if sequence, read, err := reader.Next(ctx); sequence != number || read.Service != 42 || err != nil {
			t.Errorf("number %d is read as %d: %+v (%v)", number, sequence, read, err)
		}
		node.Stop()
		node.Start()
	}
	reader.Stop()
	if _, _, err := reader.Next(ctx); !errors.Is(err, pipeline.ErrClosed) {
		t.Errorf("after Stop: %v", err)
	}
}
