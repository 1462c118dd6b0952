package routing

import (
	"testing"
	"time"
)

// A scan that hung on an oned that was away must not put off the next for hours:
// it is what finds a service that nothing else wakes.
func TestTheNextScanComesSoonHoweverLongTheLastTook(t *testing.T) {
	const interval = 2 * time.Minute
	for took, want := range map[time.Duration]time.Duration{
		10 * time.Millisecond: interval,
		3 * time.Second:       5 * time.Minute,
		time.Minute:           longestPause * interval,
	} {
		if got := scanPause(interval, took); got != want {
			t.Errorf("after a scan of %v the next comes after %v, want %v", took, got, want)
		}
	}
}
