package consumers

import (
	"errors"
	"testing"

	"golang.org/x/sync/semaphore"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// placed is a lane with the only place, and waiting reports whether another one got it.
func placed(outside *semaphore.Weighted) (l *lane, another func() (granted *bool)) {
	w := &Worker{turns: newTurns(1, 0), outside: outside}
	w.turns.submit(&ticket{grant: func() {}})
	return &lane{worker: w, partition: &partition{worker: w}, placed: true}, func() *bool {
		granted := false
		w.turns.submit(&ticket{grant: func() { granted = true }})
		return &granted
	}
}

func TestALaneThatTellsGivesItsPlaceToWhoWaits(t *testing.T) {
	l, another := placed(semaphore.NewWeighted(1))
	l.makeRoom()()
	if !l.placed {
		t.Fatal("it gave its place away although nobody waited")
	}
	granted := another()
	told := l.makeRoom()
	if l.placed || !*granted {
		t.Errorf("it has its place: %t; the other one got it: %t", l.placed, *granted)
	}
	l.leavePlace() // it has none to give: the other one keeps it
	if third := another(); *third {
		t.Error("two lanes work in one place")
	}
	told()
}

func TestOnlySoManyLanesTellWithoutAPlace(t *testing.T) {
	outside := semaphore.NewWeighted(1)
	first, another := placed(outside)
	another()
	told := first.makeRoom()
	second, another := placed(outside)
	granted := another()
	second.makeRoom()()
	if !second.placed || *granted {
		t.Error("more lanes tell without a place than may")
	}
	told()
	second.makeRoom()()
	if second.placed || !*granted {
		t.Error("it keeps its place although fewer tell by now")
	}
}

func TestALaneThatWaitsForTheDiskIsBackBeforeThoseThatHaveNotBegun(t *testing.T) {
	l, another := placed(semaphore.NewWeighted(1))
	turns := l.worker.turns
	back := func() bool {
		turns.mutex.Lock()
		defer turns.mutex.Unlock()
		return turns.waiting[returning].Len() > 0
	}
	second, third := another(), new(bool)
	failed := errors.New("the disk is full")
	err := l.whileOthersWork(t.Context(), func() error {
		if l.placed || !*second {
			t.Errorf("it has its place: %t; the other one got it: %t", l.placed, *second)
		}
		third = another()
		go func() {
			poll.Until(t, "the lane to ask for a place", back)
			turns.leave()
		}()
		return failed
	})
	if !errors.Is(err, failed) || !l.placed || *third {
		t.Errorf("got %v; it has its place: %t; one that had not begun got it: %t", err, l.placed, *third)
	}
}

// TestALaneKeepsItsPlace: one that a command waits for, and one in the middle of a call,
// which might wait for who got the place and he for the call.
func TestALaneKeepsItsPlace(t *testing.T) {
	for what, begin := range map[string]func(*lane){
		"a command waits for it": func(l *lane) { l.urgent = true },
		"it makes a call":        func(l *lane) { l.calling = true },
	} {
		l, another := placed(semaphore.NewWeighted(1))
		begin(l)
		second := another()
		err := l.whileOthersWork(t.Context(), func() error { return nil })
		if err != nil || !l.placed || *second {
			t.Errorf("%s: got %v; it has its place: %t; another one got it: %t", what, err, l.placed, *second)
		}
	}
}

// TestACommandHastensALaneThatIsToComeBack: the command came after the lane had asked.
func TestACommandHastensALaneThatIsToComeBack(t *testing.T) {
	l, another := placed(semaphore.NewWeighted(1))
	p := l.partition
	p.lanes = map[int]*lane{7: l}
	l.service, l.turn, l.wake = 7, &ticket{}, make(chan struct{}, 1)
	another()
	l.leavePlace()
	before := another()
	request, granted := awaited(ordinary)
	p.askAgain(l, request)
	p.put(pipeline.Input{Work: pipeline.Work{Service: 7, Command: &flow.Command{ID: "c"}}})
	l.worker.turns.leave()
	select {
	case <-granted:
	default:
		t.Error("it waits behind lanes that nobody waits for")
	}
	if *before {
		t.Error("one that nobody waits for got the place")
	}
}
