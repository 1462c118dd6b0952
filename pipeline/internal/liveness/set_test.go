package liveness

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestMembersLiveAsLongAsTheyAreHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New[string](time.Second, time.Second)
		s.Heard("a", "first")
		s.Heard("b", "first")
		time.Sleep(600 * time.Millisecond)
		s.Heard("a", "second")
		if live := s.Live(); len(live) != 2 || live["a"] != "second" || live["b"] != "first" {
			t.Errorf("alive are %v", live)
		}
		time.Sleep(600 * time.Millisecond)
		if live := s.Live(); len(live) != 1 || live["a"] != "second" {
			t.Errorf("after b's silence alive are %v", live)
		}
		s.Left("a")
		s.Left("never there")
		if live := s.Live(); len(live) != 0 {
			t.Errorf("after a left alive are %v", live)
		}
	})
}

func TestASetIsBounded(t *testing.T) {
	s := New[int](time.Minute, time.Minute)
	for n := range 2 * maxMembers {
		s.Heard(fmt.Sprint(n), n)
	}
	s.Heard("0", 99) // one that is known already
	if live := s.Live(); len(live) != maxMembers || live["0"] != 99 {
		t.Errorf("%d are alive, and the first says %d", len(live), live["0"])
	}
	s.Clear()
	if live := s.Live(); len(live) != 0 {
		t.Errorf("after Clear alive are %v", live)
	}
}

// A member that is heard late is waited for longer for a minute, and one that was away for longer than that is no reason to.
func TestAPatientSetWaitsForThoseThatAreLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New[int](time.Second, 5*time.Second)
		alive := func(want bool) {
			t.Helper()
			if _, is := s.Live()["a"]; is != want {
				t.Errorf("it is alive: %v, want %v", is, want)
			}
		}
		lives := func(after time.Duration) { // until then, and is dead soon after that
			t.Helper()
			time.Sleep(after - 50*time.Millisecond)
			alive(true)
			time.Sleep(100 * time.Millisecond)
			alive(false)
		}
		s.Heard("a", 1)
		lives(time.Second)
		time.Sleep(950 * time.Millisecond)
		s.Heard("a", 2) // after 2 s
		lives(4 * time.Second)
		s.Heard("a", 3) // after 4 s
		lives(5 * time.Second)
		time.Sleep(5 * time.Second)
		s.Heard("a", 4) // it was gone
		lives(5 * time.Second)
		time.Sleep(calmAfter)
		s.Heard("a", 5)
		lives(time.Second)
	})
}
