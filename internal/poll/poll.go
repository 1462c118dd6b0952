// Package poll waits in tests for conditions that give no signal.
//
// Safety: a wait never outlives its limit. Liveness: a condition that holds is noticed within a few milliseconds.
package poll

import (
	"testing"
	"time"
)

// Limit is how long Until waits before it fails the test: long enough for a machine that is busy with other things and whose disk
// syncs slowly. It also bounds a test's calls and stops, if their duration is not what is tested.
const Limit = 2 * time.Minute

const interval = 5 * time.Millisecond

// Until waits for the condition and fails the test, with the name of the condition, if it does not hold within Limit.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline, tick := time.After(Limit), time.Tick(interval)
	for !condition() {
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("waited %v in vain for %s", Limit, what)
		}
	}
}
