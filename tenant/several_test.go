package tenant

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/terminal"
)

func TestListsOfIDs(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"5": "5", "1,4..6": "1 4 5 6", "7..7": "7", "web": "web", "web,shop": "web,shop", "1..": "1..", "-1": "-1", "1,,2": "1,,2", "0..2,9": "0 1 2 9", "007": "7",
	} {
		if ids, err := idsOf(word); err != nil || strings.Join(ids, " ") != want {
			t.Errorf("%q is %q, %v, want %q", word, ids, err, want)
		}
	}
	for _, word := range []string{"6..4", "1..1001", "0..999999999", "1..600,1..600"} {
		if ids, err := idsOf(word); err == nil {
			t.Errorf("%q is %d ids", word, len(ids))
		} else if status, _ := terminal.ExitOf(err); status != terminal.ExitUsage {
			t.Errorf("%q ends with %d: %v", word, status, err)
		}
	}
}

// A change of several goes on after one that is refused, each with a key of its own, and fails at the end.
func TestAChangeOfSeveral(t *testing.T) {
	t.Parallel()
	done := answering(http.StatusNoContent, "")
	c := newCloud(t, map[string]http.HandlerFunc{
		"DELETE /service/3": done, "DELETE /service/4": refusing(http.StatusConflict, "service 4 is DEPLOYING"), "DELETE /service/5": done,
		"DELETE /service/98": refusing(http.StatusNotFound, "there is no service 98"), "DELETE /service/99": refusing(http.StatusNotFound, "there is no service 99"),
	})
	out, notes, err := c.types("service", "undeploy", "3..5", "--idempotency-key", "once")
	if err == nil || err.Error() != "1 of 3 changes failed" || notes != "flowjet: service 4 is DEPLOYING\n" {
		t.Errorf("it ends with %v after %q", err, notes)
	}
	if !exitsWith(err, terminal.ExitFailed) {
		t.Error("one of three gives its status to all")
	}
	if out != "service 3: it is being undeployed\nservice 5: it is being undeployed\n" {
		t.Errorf("it writes %q", out)
	}
	keys := map[string]bool{}
	for _, sent := range c.changes() {
		keys[sent.key] = true
	}
	if len(keys) != 3 || keys[""] {
		t.Errorf("the keys are %v: a second request with one key would be taken for the first", keys)
	}
	if out := c.does("service", "undeploy", "3,5", "-o", "json"); strings.Count(out, "\n") != 2 || strings.Count(out, `"kind":"service"`) != 2 {
		t.Errorf("for scripts it writes %q", out)
	}
	if _, notes, err := c.types("service", "undeploy", "98,99"); !exitsWith(err, terminal.ExitNotFound) || strings.Count(notes, "\n") != 2 {
		t.Errorf("of two that do not exist it ends with %v after %q", err, notes)
	}
	if _, _, err := c.types("service", "undeploy", "4,99"); !exitsWith(err, terminal.ExitFailed) {
		t.Errorf("of two with different causes it ends with %v", err)
	}
}

func exitsWith(err error, want terminal.Exit) bool {
	status, _ := terminal.ExitOf(err)
	return err != nil && status == want
}

// writer is called with what is written.
type writer func(text []byte)

func (w writer) Write(text []byte) (int, error) {
	w(text)
	return len(text), nil
}

// Ctrl-C between two changes ends the command with an error, or a script would take those that were not made for made; after the last
// change nothing is left undone.
func TestAnInterruptedChangeOfSeveral(t *testing.T) {
	t.Parallel()
	done := answering(http.StatusNoContent, "")
	c := newCloud(t, map[string]http.HandlerFunc{"DELETE /service/3": done, "DELETE /service/4": done, "DELETE /service/5": done})
	for after, changes := range map[string]int{"service 3: ": 1, "service 4: ": 2, "service 5: ": 3} {
		before := len(c.changes())
		ctx, interrupt := context.WithCancel(t.Context())
		out := writer(func(text []byte) {
			if bytes.HasPrefix(text, []byte(after)) {
				interrupt()
			}
		})
		line := []string{"service", "undeploy", "3..5", "--endpoint", c.url, "--auth-file", c.file("auth", "alice:secret\n")}
		err := c.root(out, io.Discard, line...).ExecuteContext(ctx)
		if sent := len(c.changes()) - before; sent != changes || errors.Is(err, context.Canceled) != (changes < 3) || changes == 3 && err != nil {
			t.Errorf("interrupted after %q it makes %d changes and ends with %v", after, sent, err)
		}
		interrupt()
	}
}
