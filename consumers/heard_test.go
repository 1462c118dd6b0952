package consumers

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// TestAClockAheadMakesNobodyWait: NATS's clock says when an event was published. Where it is an
// hour ahead of ours, oned is not asked for an hour.
func TestAClockAheadMakesNobodyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newServiceLoop(nil, nil, 7)
		l.came, l.told = time.Now(), []pipeline.Trouble{{VM: 1, State: one.VMPoweroff}}
		input := pipeline.Input{Published: time.Now().Add(time.Hour)}
		l.ingester.noteTold(input)
		seen := one.VM{ID: 1, State: one.VMActive, LCMState: one.LCMRunning}
		if !l.ingester.heard.ahead(seen) {
			t.Error("what was just heard is not waited for")
		}
		time.Sleep(opennebula.WriteTime)
		if l.ingester.heard.ahead(seen) {
			t.Error("what was heard is waited for although oned has long written it")
		}
	})
}
