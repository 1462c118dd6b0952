package terminal

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/flowjet/flowjet/flow"
)

// At writes a time in the one form that all commands have: in this host's zone, and with the date where it is not today's.
func (c *Console) At(when time.Time) string { return form(when, c.Now(), "15:04:05 MST") }

// Exactly is At with milliseconds, for what happens close together.
func (c *Console) Exactly(when time.Time) string { return form(when, c.Now(), "15:04:05.000 MST") }

func form(when, now time.Time, layout string) string {
	when, now = when.Local(), now.Local()
	if when.YearDay() != now.YearDay() || when.Year() != now.Year() {
		layout = time.DateOnly + " " + layout
	}
	return when.Format(layout)
}

// stamp is a time in UTC as messages have it.
var stamp = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// Timed writes the times in a message of somebody else's in the form of all others.
func (c *Console) Timed(message string) string {
	return stamp.ReplaceAllStringFunc(Printable(message), func(text string) string {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return text
		}
		return c.At(when)
	})
}

// What says in a few words what has changed.
func What(change flow.Change) string {
	text := change.New
	if change.Old != "" {
		text = change.Old + " -> " + change.New
	}
	switch change.Kind {
	case "role":
		text = "role " + change.Role + ": " + text
	case "network":
		text = "network " + change.Network + ": " + text
	case "router":
		text = "virtual router of role " + change.Role + " " + change.New
	case "vm":
		text = "VM " + change.New
		if change.VM != nil {
			text = fmt.Sprintf("VM %d %s (role %s)", *change.VM, change.New, change.Role)
		}
	}
	if change.Reason != "" && change.Kind != "network" {
		text += " (" + change.Reason + ")"
	}
	return text
}

// Change is What with times in the form of all others and the new state coloured.
func (c *Console) Change(change flow.Change) string {
	text := c.Timed(What(change))
	if change.Kind != "service" && change.Kind != "role" {
		return text
	}
	return strings.Replace(text, change.New, c.State(change.New), 1)
}

// Printable is a text of somebody else's without what a terminal would obey.
func Printable(text string) string { return without(text, false) }

// without is Printable, which may keep line ends.
func without(text string, lines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case lines && (r == '\n' || r == '\t'):
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, text)
}

// paint are the codes that Paint sets.
var paint = regexp.MustCompile("\x1b\\[(?:0|1|2|3[1-6])m")

// Say writes a line. The texts in it may be somebody else's: of what a terminal would obey
// only Paint's codes are left, and line ends where the line is one text.
func (c *Console) Say(format string, arguments ...any) {
	arguments = slices.Clone(arguments)
	for i := range arguments {
		text, isText := arguments[i].(string)
		if !isText {
			continue
		}
		var kept strings.Builder
		end := 0
		for _, code := range paint.FindAllStringIndex(text, -1) {
			kept.WriteString(without(text[end:code[0]], format == "%s"))
			kept.WriteString(text[code[0]:code[1]])
			end = code[1]
		}
		kept.WriteString(without(text[end:], format == "%s"))
		arguments[i] = kept.String()
	}
	fmt.Fprintf(c.out, format+"\n", arguments...)
}

// Error writes an error, which may quote what is somebody else's.
func Error(out io.Writer, err error) { fmt.Fprintln(out, "flowjet:", without(err.Error(), true)) }
