package operate

import (
	"regexp"
	"time"
)

// at writes a time in the one form that all commands have: in this host's zone, and with
// the date where it is not today's.
func (c *console) at(when time.Time) string { return form(when, c.now(), "15:04:05 MST") }

// exactly is at with milliseconds, for what happens close together.
func (c *console) exactly(when time.Time) string { return form(when, c.now(), "15:04:05.000 MST") }

func form(when, now time.Time, layout string) string {
	when, now = when.Local(), now.Local()
	if when.YearDay() != now.YearDay() || when.Year() != now.Year() {
		layout = time.DateOnly + " " + layout
	}
	return when.Format(layout)
}

// stamp is a time in UTC as messages have it.
var stamp = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// timed writes the times in a message in the form of all others.
func (c *console) timed(message string) string {
	return stamp.ReplaceAllStringFunc(message, func(text string) string {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return text
		}
		return c.at(when)
	})
}
