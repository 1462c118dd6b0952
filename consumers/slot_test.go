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

// placed is a service loop with the only slot, and waiting reports whether another one got it.
func placed(outside *semaphore.Weighted) (l *serviceLoop, another func() (granted *bool)) {
	w := &Worker{scheduler: newScheduler(1, 0), outside: outside}
	w.scheduler.submit(&slotRequest{grant: func() {}})
	l = newServiceLoop(w, &partition{worker: w}, 7)
	l.slot.held = true
	return l, func() *bool {
		granted := false
		w.scheduler.submit(&slotRequest{grant: func() { granted = true }})
		return &granted
	}
}

func TestALaneThatTellsGivesItsPlaceToWhoWaits(t *testing.T) {
	l, another := placed(semaphore.NewWeighted(1))
	l.slot.lend()()
	if !l.slot.held {
		t.Fatal("it gave its place away although nobody waited")
	}
	granted := another()
	told := l.slot.lend()
	if l.slot.held || !*granted {
		t.Errorf("it has its place: %t; the other one got it: %t", l.slot.held, *granted)
	}
	l.slot.release() // it has none to give: the other one keeps it
	if third := another(); *third {
		t.Error("two lanes work in one place")
	}
	told()
}

func TestOnlySoManyLanesTellWithoutAPlace(t *testing.T) {
	outside := semaphore.NewWeighted(1)
	first, another := placed(outside)
	another()
	told := first.slot.lend()
	second, another := placed(outside)
	granted := another()
	second.slot.lend()()
	if !second.slot.held || *granted {
		t.Error("more lanes tell without a place than may")
	}
	told()
	second.slot.lend()()
	if second.slot.held || !*granted {
		t.Error("it keeps its place although fewer tell by now")
	}
}

func TestALaneThatWaitsForTheDiskIsBackBeforeThoseThatHaveNotBegun(t *testing.T) {
	l, another := placed(semaphore.NewWeighted(1))
	turns := l.worker.scheduler
	back := func() bool {
		turns.mutex.Lock()
		defer turns.mutex.Unlock()
		return turns.waiting[returning].Len() > 0
	}
	second, third := another(), new(bool)
	failed := errors.New("the disk is full")
	err := l.slot.whileOthersWork(t.Context(), func() error {
		if l.slot.held || !*second {
			t.Errorf("it has its place: %t; the other one got it: %t", l.slot.held, *second)
		}
		third = another()
		go func() {
			poll.Until(t, "the lane to ask for a place", back)
			turns.release()
		}()
		return failed
	})
	if !errors.Is(err, failed) || !l.slot.held || *third {
		t.Errorf("got %v; it has its place: %t; one that had not begun got it: %t", err, l.slot.held, *third)
	}
}

// TestALaneKeepsItsPlace: one that a command waits for, and one in the middle of a call,
// which might wait for who got the slot and he for the call.
func TestALaneKeepsItsPlace(t *testing.T) {
	for what, begin := range map[string]func(*serviceLoop){
		"a command waits for it": func(l *serviceLoop) { l.urgent.Store(true) },
		"it makes a call":        func(l *serviceLoop) { l.slot.calling = true },
	} {
		l, another := placed(semaphore.NewWeighted(1))
		begin(l)
		second := another()
		err := l.slot.whileOthersWork(t.Context(), func() error { return nil })
		if err != nil || !l.slot.held || *second {
			t.Errorf("%s: got %v; it has its place: %t; another one got it: %t", what, err, l.slot.held, *second)
		}
	}
}

// TestACommandHastensALaneThatIsToComeBack: the command came after the service loop had asked.
func TestACommandHastensALaneThatIsToComeBack(t *testing.T) {
	l, another := placed(semaphore.NewWeighted(1))
	p := l.partition
	p.loops = map[int]*serviceLoop{7: l}
	l.service, l.slotRequest, l.wake = 7, &slotRequest{}, make(chan struct{}, 1)
	another()
	l.slot.release()
	before := another()
	granted := false
	p.askAgain(l, &slotRequest{grant: func() { granted = true }})
	p.put(pipeline.Input{Work: pipeline.Work{Service: 7, Command: &flow.Command{ID: "c"}}})
	l.worker.scheduler.release()
	if !granted {
		t.Error("it waits behind lanes that nobody waits for")
	}
	if *before {
		t.Error("one that nobody waits for got the place")
	}
}

// TestALaneThatBacksOffInACallKeepsItsPlace: who got the slot might wait for the call, and it
// for the slot.
func TestALaneThatBacksOffInACallKeepsItsPlace(t *testing.T) {
	l, another := placed(semaphore.NewWeighted(1))
	l.slot.calling = true
	second := another()
	l.slot.backOff(t.Context(), idle.NewBackoff())
	if !l.slot.held || *second {
		t.Errorf("it has its place: %t; another one got it: %t", l.slot.held, *second)
	}
}
