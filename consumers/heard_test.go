package consumers

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// TestAClockAheadMakesNobodyWait: NATS's clock says when an event was published. Where it is an
// hour ahead of ours, oned is not asked for an hour.
func TestAClockAheadMakesNobodyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newServiceLoop(nil, nil, 7)
		told, heard := []pipeline.Trouble{{VM: 1, State: one.VMPoweroff}}, &l.vms.heard
		input, came := pipeline.Input{Published: time.Now().Add(time.Hour)}, time.Now()
		heard.note(told, published(input, came), nil)
		seen := one.VM{ID: 1, State: one.VMActive, LCMState: one.LCMRunning}
		heard.asked[1] = time.Now()
		if !heard.ahead(seen) {
			t.Error("what was just heard is not waited for")
		}
		time.Sleep(opennebula.WriteTime)
		heard.asked[1] = time.Now()
		if heard.ahead(seen) {
			t.Error("what was heard is waited for although oned has long written it")
		}
	})
}

// What oned answers within two seconds of an event may be older than it: not where it shows the same, or what nothing leads back from.
func TestAnAnswerMayBeOlderThanAnEvent(t *testing.T) {
	vm := func(state one.VMState, lcmState one.LCMState) one.VM {
		return one.VM{ID: 1, State: state, LCMState: lcmState}
	}
	running, poweroff := vm(one.VMActive, one.LCMRunning), vm(one.VMPoweroff, one.LCMInit)
	done, epilog := vm(one.VMDone, one.LCMInit), vm(one.VMActive, one.LCMEpilog)
	for name, test := range map[string]struct {
		known, told, seen one.VM
		asked             time.Duration // after the event
		ahead             bool
	}{
		"another state":                              {running, poweroff, running, time.Second, true},
		"the same state":                             {running, poweroff, poweroff, time.Second, false},
		"asked before the event":                     {running, poweroff, running, -time.Second, true},
		"asked when oned has long written it":        {running, poweroff, running, opennebula.WriteTime, false},
		"a VM that is gone":                          {running, running, done, time.Second, false},
		"a VM on its way out that was told to run":   {running, running, epilog, time.Second, false},
		"a VM on its way out that is told to be off": {epilog, poweroff, epilog, time.Second, true},
		"a VM on its way out that is gone":           {running, done, epilog, time.Second, true},
		"a VM whose epilog failed":                   {running, vm(one.VMActive, one.LCMEpilogFailure), epilog, time.Second, true},
		"another VM":                                 {running, poweroff, one.VM{ID: 2}, time.Second, false},
	} {
		now := time.Now()
		h := heard{map[int]reportedState{}, map[int]time.Time{1: now.Add(test.asked), 2: now}}
		h.note([]pipeline.Trouble{pipeline.TroubleOf(test.told)}, now, flow.Facts{1: test.known})
		if got := h.ahead(test.seen); got != test.ahead {
			t.Errorf("%s: an older answer: %t, want %t", name, got, test.ahead)
		}
	}
}

// News is old once oned was asked about all of its VMs, unless it may have answered too early.
func TestNewsThatWasReadSinceIsOld(t *testing.T) {
	owner := one.Identity{UID: 2}
	news := pipeline.Work{Trouble: []pipeline.Trouble{{VM: 1, State: one.VMPoweroff}, {VM: 2, State: one.VMPoweroff}}}
	for name, test := range map[string]struct {
		published, first, second time.Duration // before now; the news came a second ago
		behind                   pipeline.Work // what waits behind it
		old                      bool
	}{
		"all were read since":                  {time.Minute, 0, 0, pipeline.Work{}, true},
		"one was read before":                  {time.Minute, 0, 2 * time.Second, pipeline.Work{}, false},
		"oned may not have written it":         {time.Second, 0, 0, pipeline.Work{}, false},
		"newer news of both waits":             {time.Second, 0, 0, news, true},
		"newer news that tells no state waits": {time.Second, 0, 0, pipeline.Work{Event: &pipeline.Event{ID: 1, Ready: new(bool)}}, false},
	} {
		now := time.Now()
		l := newServiceLoop(nil, &partition{}, 7)
		l.came, l.inbox.waiting = now.Add(-time.Second), []delivery{{Input: pipeline.Input{Work: test.behind}}}
		l.record.State.Service = spec.Service{ID: 7, Owner: owner}
		l.facts = flow.Facts{}
		for id := 1; id <= 2; id++ {
			l.facts[id] = one.VM{ID: id, Owner: owner, Service: 7, State: one.VMActive, LCMState: one.LCMRunning}
		}
		l.vms.heard.asked = map[int]time.Time{1: now.Add(-test.first), 2: now.Add(-test.second)}
		l.vms.heard.note(news.Trouble, now.Add(-test.published), l.facts)
		if got := l.vms.isOld(news); got != test.old {
			t.Errorf("%s: old: %t, want %t", name, got, test.old)
		}
	}
}
