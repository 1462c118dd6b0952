package consumers

import (
	"testing"

	"golang.org/x/sync/semaphore"
)

// placed is a lane with the only place, and waiting says that another one got it.
func placed(outside *semaphore.Weighted) (l *lane, another func() (granted *bool)) {
	w := &Worker{turns: newTurns(1, 0), outside: outside}
	w.turns.submit(&ticket{grant: func() {}})
	return &lane{worker: w, placed: true}, func() *bool {
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
