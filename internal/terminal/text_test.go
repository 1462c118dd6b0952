package terminal

import (
	"testing"
	"time"
)

// TestTimesHaveOneForm: with the zone, and with the date where it is not today's.
func TestTimesHaveOneForm(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.Local)
	zone := now.Format("MST")
	c := &Console{Now: func() time.Time { return now }}
	yesterday := now.Add(-24 * time.Hour)
	for got, want := range map[string]string{
		c.At(now):          "12:00:00 " + zone,
		c.Exactly(now):     "12:00:00.000 " + zone,
		c.At(yesterday):    "2026-11-27 12:00:00 " + zone,
		c.At(now.UTC()):    "12:00:00 " + zone,
		c.Timed("no time"): "no time",
		c.Timed("(since " + yesterday.UTC().Format(time.RFC3339) + "; due " + now.UTC().Format(time.RFC3339Nano) + ")"): "(since 2026-11-27 12:00:00 " + zone + "; due 12:00:00 " + zone + ")",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
