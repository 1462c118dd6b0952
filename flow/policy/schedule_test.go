package policy

import (
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
