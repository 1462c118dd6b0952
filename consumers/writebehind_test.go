package consumers

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
)

// TestDocumentIsWrittenForItsStateWithinASecond, and for what else changes once a minute.
func TestDocumentIsWrittenForItsStateWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var behind writeBehind
		within := func(what string, want time.Duration) {
			t.Helper()
			if left := time.Until(behind.due); behind.due.IsZero() || left != want {
				t.Errorf("%s: the document is written in %s, want %s", what, left, want)
			}
		}
		behind.begin(spec.ServiceDeploying)
		within("a service that begins to deploy", writeWithin)
		time.Sleep(writeWithin)
		if !behind.isDue() {
			t.Error("the document is not written in time")
		}
		behind.wrote(spec.ServiceDeploying)
		time.Sleep(time.Second)
		behind.begin(spec.ServiceDeploying)
		within("another VM", writeEvery-time.Second)
		time.Sleep(10 * time.Second)
		behind.begin(spec.ServiceDeploying)
		within("a third VM later", writeEvery-11*time.Second)
		if behind.isSoon() || behind.isDue() {
			t.Error("the document is written for a VM at once")
		}
		behind.begin(spec.ServiceUndeploying)
		within("another state", writeWithin)
		time.Sleep(time.Hour)
		behind.wrote(spec.ServiceUndeploying)
		time.Sleep(time.Hour)
		behind.begin(spec.ServiceUndeploying)
		within("a VM long after the last write", writeWithin)
	})
}
