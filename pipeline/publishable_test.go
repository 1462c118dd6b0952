package pipeline

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline/embedded"
)

// Names of any length are published, and tell apart what has the same beginning.
func TestLongNamesBecomeShortTokens(t *testing.T) {
	p, ctx := single(t), limited(t)
	long := strings.Repeat("n", 5000)
	for name, transitions := range map[string][]Transition{
		"a network": {{Service: 1, Change: flow.Change{Kind: "network", Network: long, New: "READY"}}},
		"a role":    {{Service: 2, Change: flow.Change{Kind: "role", Role: long, New: "RUNNING"}}},
		"a router":  {{Service: 3, Change: flow.Change{Kind: "router", Role: strings.Repeat("é", 3000), New: "CREATED"}}},
	} {
		if err := p.PublishTransitions(ctx, transitions, 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if subject := TransitionSubject(transitions[0]); len(subject) > 2*maxToken || strings.ContainsFunc(subject, structuralInToken) {
			t.Errorf("%s: the subject is %q", name, subject)
		}
	}
	if !p.State().Connected {
		t.Error("the connection is gone")
	}
	if again := token(long + "a"); again == token(long+"b") || again != token(long+"a") {
		t.Error("a long name's token does not stand for the name")
	}
	if short := strings.Repeat("n", maxToken); token(short) != short {
		t.Errorf("%q became %q", short, token(short))
	}
}

func structuralInToken(r rune) bool { return r != '.' && structural(r) }

// What NATS would answer by closing the connection is not sent.
func TestWhatCannotBePublishedIsNotSent(t *testing.T) {
	p, ctx := single(t), limited(t)
	for name, message := range map[string]*nats.Msg{
		"a long subject":  nats.NewMsg("flow.event.1." + strings.Repeat("x", 5000)),
		"a blank":         nats.NewMsg("flow.event.1.a b"),
		"a line end":      nats.NewMsg("flow.event.1.a\r\nPUB"),
		"a large message": {Subject: "flow.event.1.service.X", Header: nats.Header{}, Data: make([]byte, embedded.MaxPayload+1)},
	} {
		message.Header.Set("Nats-Msg-Id", name)
		if _, err := p.publish(ctx, message); !errors.Is(err, ErrUnpublishable) {
			t.Errorf("%s: publish: %v", name, err)
		}
		if _, err := p.history.store(ctx, message); !errors.Is(err, ErrUnpublishable) {
			t.Errorf("%s: store: %v", name, err)
		}
		if _, err := p.pipelined(ctx, []*nats.Msg{message, message}); !errors.Is(err, ErrUnpublishable) {
			t.Errorf("%s: pipelined: %v", name, err)
		}
		if err := p.publishOrdered(ctx, []*nats.Msg{message, message}, true); !errors.Is(err, ErrUnpublishable) {
			t.Errorf("%s: in a batch: %v", name, err)
		}
	}
	for _, to := range []string{strings.Repeat("x", 5000), "_INBOX.a b", "_INBOX.a\r\nPUB flow.work.1 0"} {
		p.reply(to, Reply{Command: "c"})
	}
	must(t, p.conn.FlushTimeout(attempt))
	if !p.State().Connected {
		t.Error("the connection is gone")
	}
}

// A connection that NATS has closed for good is known as such, and no other.
func TestAClosedConnectionIsLost(t *testing.T) {
	p := single(t)
	select {
	case <-p.Lost():
		t.Fatal("an open connection counts as lost")
	default:
	}
	must(t, p.conn.Publish(strings.Repeat("x", 5000), nil))
	poll.Until(t, "the loss to be known", func() bool {
		select {
		case <-p.Lost():
			return true
		default:
			return false
		}
	})
	other := single(t)
	other.Close()
	select {
	case <-other.Lost():
		t.Error("a pipeline that was closed counts as lost")
	default:
	}
}
