package bridge

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowjet/flowjet/internal/testlog"
)

// However many hook events cannot be parsed, they are one line a minute, with their number.
func TestHookEventsThatCannotBeParsedAreCountedInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testlog.Log
		u := &unparsedLog{log: log.Logger()}
		lines := func(want ...string) {
			t.Helper()
			synctest.Wait()
			for i, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
				if i >= len(want) || !strings.Contains(line, want[i]) {
					t.Fatalf("the log is %s\nwant %q", log.String(), want)
				}
			}
			if got := log.Count("could not be parsed"); got != len(want) {
				t.Fatalf("%d lines, want %q", got, want)
			}
		}
		for i := range 1000 {
			u.note(fmt.Sprint("reason ", i))
		}
		first := `msg="hook events could not be parsed; see the dead letters" events=1 reason="reason 0"`
		lines(first)
		time.Sleep(unparsedEvery)
		many := `msg="hook events could not be parsed; see the dead letters" events=999 reason="reason 999"`
		lines(first, many)
		u.note("within the pause")
		lines(first, many)
		time.Sleep(2 * unparsedEvery) // a pause without any ends the series
		lines(first, many, "within the pause")
		u.note("later")
		lines(first, many, "within the pause", "later")
		u.note("the last")
		u.end()
		lines(first, many, "within the pause", "later", "the last")
		time.Sleep(2 * unparsedEvery)
		lines(first, many, "within the pause", "later", "the last")
	})
}
