package terminal

import (
	"regexp"
	"time"
)

// At writes a time in the one form that all commands have: in this host's zone, and with
// the date where it is not today's.
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
