package policy

import (
	"strconv"
	"testing"
	"time"
)

// OneFlow's cron takes these names of whole recurrences.
func TestNicknamesOfRecurrences(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 30, 0, 0, time.UTC) // a Thursday
	for nickname, want := range map[string]time.Time{
		"@yearly": time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), "@annually": time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		"@monthly": time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), "@weekly": time.Date(2026, 1, 4, 0, 0, 0, 0, time.UTC),
		"@daily": time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), "@midnight": time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"@hourly": time.Date(2026, 1, 1, 13, 0, 0, 0, time.UTC),
	} {
		next, comes := Adjustment{Recurrence: nickname, LastEval: now.Unix()}.NextStart(now)
		if !comes || !next.Equal(want) {
			t.Errorf("%s comes next at %v (%t), want %v", nickname, next, comes, want)
		}
	}
}

// With OneFlow either of the two days suffices, unless one of them is just *.
func TestEitherDayOfARecurrence(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) // a Monday
	for recurrence, day := range map[string]int{
		"0 9 4 * 3": 3, "0 9 */2 * 2": 2, "0 9 */24 * sat": 6, "0 9 20 * */3": 3, "0 9 20,*/9 * 6": 6, "0 9 */3 * *": 4, "0 9 * * */5": 5, "0 9 10 * *": 10,
	} {
		want := time.Date(2026, 6, day, 9, 0, 0, 0, time.UTC)
		if next, comes := (Adjustment{Recurrence: recurrence, LastEval: now.Unix()}).NextStart(now); !comes || !next.Equal(want) {
			t.Errorf("%s comes next at %v (%t), want %v", recurrence, next, comes, want)
		}
	}
}

// OneFlow reads a date as Ruby does, and its documentation writes them so.
func TestWrittenDatesAreStarts(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("here", 3600)
	ten := time.Date(2030, 6, 2, 10, 45, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"2nd June 2030 10:45": ten, "2 Jun 2030 10:45:00": ten, "June 2nd, 2030 10:45": ten, "2-Jun-2030 10:45": ten, "2 june 2030 09:45 UTC": ten,
		"jun 2 2030 11:45 +0200": ten, "Sun, 02 Jun 2030 09:45:00 GMT": ten, "Sun Jun  2 09:45:00 UTC 2030": ten, "2030-6-2 10:45": ten, "2030/6/2 10:45:0": ten, "2030-6-2T9:45Z": ten, "2nd June, 2030": time.Date(2030, 6, 2, 0, 0, 0, 0, zone),
	} {
		if start, err := ParseStartTime([]byte(strconv.Quote(text)), zone); err != nil || !start.Equal(want) {
			t.Errorf("%s is %v (%v), want %v", text, start, err, want)
		}
	}
	for _, text := range []string{"2nd June", "June", "32 June 2030", "2 abc 2030", "02/06/2030", "2nd", "-5", "+5"} {
		if start, err := ParseStartTime([]byte(strconv.Quote(text)), zone); err == nil {
			t.Errorf("%s is %v, want an error", text, start)
		}
	}
}
