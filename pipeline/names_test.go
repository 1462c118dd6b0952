package pipeline

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
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
		if _, err := p.Publish(ctx, TransitionMessage(transitions[0], 1)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if subject := TransitionSubject(transitions[0]); len(subject) > 2*maxToken || strings.ContainsFunc(subject, structuralInToken) {
			t.Errorf("%s: the subject is %q", name, subject)
		}
	}
	if !p.State().Connected {
		t.Error("the connection is gone")
	}
	if again := Token(long + "a"); again == Token(long+"b") || again != Token(long+"a") {
		t.Error("a long name's token does not stand for the name")
	}
	if short := strings.Repeat("n", maxToken); Token(short) != short {
		t.Errorf("%q became %q", short, Token(short))
	}
}

func structuralInToken(r rune) bool { return r != '.' && structural(r) }

func TestHookSubjectsAreReadAsTheyAreWritten(t *testing.T) {
	for _, receiver := range []string{"ops", "=0123456789abcdef"} {
		if got, service, ok := ReadHookSubject(HookSubject(receiver, 42)); got != receiver || service != 42 || !ok {
			t.Errorf("%s of service 42 is read as %q of %d, %t", receiver, got, service, ok)
		}
	}
	for _, subject := range []string{"", "flow.hook.ops", "flow.hook.ops.x", "flow.hook.ops.1.2", "flow.work.ops.1", "x.hook.ops.1"} {
		if receiver, service, ok := ReadHookSubject(subject); ok {
			t.Errorf("%s is read as %q of %d", subject, receiver, service)
		}
	}
}
