package routing

import (
	"testing"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// TestWhenAVMCameToItsState: an event that was found by comparing comes minutes later, and must not begin its deadline anew.
func TestWhenAVMCameToItsState(t *testing.T) {
	leader := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(minutes float64) time.Time { return leader.Add(time.Duration(minutes * float64(time.Minute))) }
	for what, test := range map[string]struct {
		event      pipeline.Event
		seen, want time.Time
	}{
		"heard":                                 {pipeline.Event{Heard: at(5)}, at(1), at(5)},
		"found right after a change of leader":  {pipeline.Event{Heard: at(0.5), Resync: true}, time.Time{}, leader.Add(-time.Second)},
		"found later, seen by nobody before":    {pipeline.Event{Heard: at(5), Resync: true}, time.Time{}, at(5)},
		"found later than the service saw it":   {pipeline.Event{Heard: at(5), Resync: true}, at(1), at(1)},
		"found before the service looked at it": {pipeline.Event{Heard: at(5), Resync: true}, at(7), at(5)},
	} {
		if got := EnteredAt(test.event, leader, test.seen); !got.Equal(test.want) {
			t.Errorf("%s: got %s, want %s", what, got, test.want)
		}
	}
}
