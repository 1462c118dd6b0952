package app

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestReadsOfTheLastMinuteAreCounted(t *testing.T) {
	reads := &onedReads{slow: prometheus.NewCounter(prometheus.CounterOpts{Name: "slow"})}
	now := time.Unix(1_800_000_000, 0)
	for second := range 120 {
		at := now.Add(time.Duration(second) * time.Second)
		reads.note(2*time.Millisecond, at)
		if second >= 100 {
			reads.note(200*time.Millisecond, at)
		}
	}
	end := now.Add(119 * time.Second)
	if got := reads.lastMinute(end); got.Slow != 20 || got.Reads != 80 {
		t.Errorf("%+v, want 60 quick and 20 slow reads", got)
	}
	if got := reads.lastMinute(end.Add(time.Minute + 10*time.Second)); got.Reads != 0 {
		t.Errorf("%+v a minute later", got)
	}
}
