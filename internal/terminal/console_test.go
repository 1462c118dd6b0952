package terminal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
)

// What somebody has put into a name or a message neither reaches the terminal nor makes a line
// of its own; colours do.
func TestHostileTexts(t *testing.T) {
	const text = "a\x1b]0;title\x07\x1b[2J\u009b31m\rb\nRUNNING\u202ec\x1b[8m"
	var out bytes.Buffer
	c := &Console{Now: time.Now, out: &out, colour: true}
	c.Say("state %s for %s", c.State("RUNNING"), text)
	c.Title("Service 1  %s", text)
	c.Table([]string{"NAME"}, [][]string{{text}})
	c.Say("%s", c.Change(flow.Change{Kind: "role", Role: text, New: "RUNNING", Reason: text}))
	Error(&out, errors.New("service "+text))
	shown := out.String()
	for _, code := range []string{"\x1b[32m", "\x1b[1m", "\x1b[0m", "\x1b[2m"} {
		shown = strings.ReplaceAll(shown, code, "")
	}
	if strings.ContainsAny(shown, "\x1b\x07\r\u009b\u202e") {
		t.Errorf("a terminal gets %q", shown)
	}
	if lines := strings.Count(shown, "\n"); lines != 7 { // an error keeps its own
		t.Errorf("there are %d lines: %q", lines, shown)
	}
}

// The new state alone is coloured, also where the old one begins with its name.
func TestColourOfAChange(t *testing.T) {
	c := &Console{Now: time.Now, colour: true}
	for want, change := range map[string]flow.Change{
		"DEPLOYING_NETS -> \x1b[36mDEPLOYING\x1b[0m":          {Kind: "service", Old: "DEPLOYING_NETS", New: "DEPLOYING"},
		"role RUNNING: SCALING -> \x1b[32mRUNNING\x1b[0m (r)": {Kind: "role", Role: "RUNNING", Old: "SCALING", New: "RUNNING", Reason: "r"},
	} {
		if got := c.Change(change); got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
}
