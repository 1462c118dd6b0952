package consumers

import (
	"errors"
	"testing"

	"golang.org/x/sync/semaphore"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// withSlot is a service loop with the only slot, and waiting reports whether another one got it.
func withSlot(outside *semaphore.Weighted) (l *serviceLoop, another func() (granted *bool)) {
	w := &Worker{scheduler: &scheduler{slots: 1}, outside: outside}
	w.scheduler.submit(&slotRequest{grant: func() {}})
	l = newServiceLoop(w, &partition{worker: w}, 7)
	l.slot.held = true
	return l, func() *bool {
		granted := false
		w.scheduler.submit(&slotRequest{grant: func() { granted = true }})
		return &granted
	}
}

func TestAServiceLoopThatPublishesLendsItsSlot(t *testing.T) {
	l, another := withSlot(semaphore.NewWeighted(1))
	l.slot.lend()()
	if !l.slot.held {
		t.Fatal("it lent its slot although nobody waited")
	}
	granted := another()
	published := l.slot.lend()
	if l.slot.held || !*granted {
		t.Errorf("it has its slot: %t; another one got it: %t", l.slot.held, *granted)
	}
	l.slot.release() // it has none to give: the other one keeps it
	if third := another(); *third {
		t.Error("two service loops work in one slot")
	}
	published()
}

func TestFewServiceLoopsPublishWithoutASlot(t *testing.T) {
	outside := semaphore.NewWeighted(1)
	first, another := withSlot(outside)
	another()
	published := first.slot.lend()
	second, another := withSlot(outside)
	granted := another()
	second.slot.lend()()
	if !second.slot.held || *granted {
		t.Error("more service loops publish without a slot than may")
	}
	published()
	second.slot.lend()()
	if second.slot.held || !*granted {
		t.Error("it keeps its slot although fewer publish by now")
	}
}

func TestAServiceLoopThatWaitsForTheDiskGetsASlotBeforeNewOnes(t *testing.T) {
	l, another := withSlot(semaphore.NewWeighted(1))
	scheduler := l.worker.scheduler
	back := func() bool {
		scheduler.mutex.Lock()
		defer scheduler.mutex.Unlock()
		return scheduler.waiting[returning].Len() > 0
	}
	second, third := another(), new(bool)
	failed := errors.New("the disk is full")
	err := l.slot.whileOthersWork(t.Context(), func() error {
		if l.slot.held || !*second {
			t.Errorf("it has its slot: %t; another one got it: %t", l.slot.held, *second)
		}
		third = another()
		go func() {
			poll.Until(t, "the service loop to request a slot", back)
			scheduler.release()
		}()
		return failed
	})
	if !errors.Is(err, failed) || !l.slot.held || *third {
		t.Errorf("got %v; it has its slot: %t; a new one got it: %t", err, l.slot.held, *third)
	}
}

// TestAServiceLoopKeepsItsSlot: one that a command waits for, and one in the middle of a call,
// which might wait for who got the slot and he for the call.
func TestAServiceLoopKeepsItsSlot(t *testing.T) {
	for what, begin := range map[string]func(*serviceLoop){
		"a command waits for it": func(l *serviceLoop) { l.urgent.Store(true) },
		"it makes a call":        func(l *serviceLoop) { l.slot.calling = true },
	} {
		l, another := withSlot(semaphore.NewWeighted(1))
		begin(l)
		second := another()
		err := l.slot.whileOthersWork(t.Context(), func() error { return nil })
		if err != nil || !l.slot.held || *second {
			t.Errorf("%s: got %v; it has its slot: %t; another one got it: %t", what, err, l.slot.held, *second)
		}
	}
}

// TestACommandBoostsAServiceLoopThatAsksAgain: the command came after the service loop had asked.
func TestACommandBoostsAServiceLoopThatAsksAgain(t *testing.T) {
	l, another := withSlot(semaphore.NewWeighted(1))
	p := l.partition
	p.loops = map[int]*serviceLoop{7: l}
	l.service, l.slotRequest, l.wake = 7, &slotRequest{}, make(chan struct{}, 1)
	another()
	l.slot.release()
	before := another()
	granted := false
	p.askAgain(l.queue, &slotRequest{grant: func() { granted = true }})
	p.put(pipeline.Input{Work: pipeline.Work{Service: 7, Command: &flow.Command{ID: "c"}}})
	l.worker.scheduler.release()
	if !granted {
		t.Error("it waits behind service loops that nobody waits for")
	}
	if *before {
		t.Error("one that nobody waits for got the slot")
	}
}

// TestAServiceLoopThatBacksOffInACallKeepsItsSlot: who got the slot might wait for the call, and it
// for the slot.
func TestAServiceLoopThatBacksOffInACallKeepsItsSlot(t *testing.T) {
	l, another := withSlot(semaphore.NewWeighted(1))
	l.slot.calling = true
	second := another()
	l.slot.backOff(t.Context(), idle.NewBackoff())
	if !l.slot.held || *second {
		t.Errorf("it has its slot: %t; another one got it: %t", l.slot.held, *second)
	}
}
