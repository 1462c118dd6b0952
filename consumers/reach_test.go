package consumers

import (
	"testing"
	"time"
)

// TestOnedThatIsLostAgainAndAgainIsGivenLonger: over a network that loses packets, so that services do not move all the time.
func TestOnedThatIsLostAgainAndAgainIsGivenLonger(t *testing.T) {
	r, now := reach{limit: onedCheck}, time.Now()
	turn := func(pause, look time.Duration) {
		t.Helper()
		now = now.Add(pause)
		if r.note(false, now) || r.lost {
			t.Error("one answer that is missing counts")
		}
		if !r.note(false, now) || !r.lost || r.note(false, now) {
			t.Error("it is not lost once")
		}
		if r.limit != look {
			t.Errorf("it is given %s, want %s", r.limit, look)
		}
		if !r.note(true, now) || r.lost || r.note(true, now) {
			t.Error("it is not restored once")
		}
	}
	turn(0, onedCheck)
	for _, look := range []time.Duration{2 * onedCheck, 4 * onedCheck, longestCheck, longestCheck} {
		turn(calmAfter-time.Second, look)
	}
	turn(calmAfter, onedCheck)
}
