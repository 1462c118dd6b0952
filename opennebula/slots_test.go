package opennebula

import "testing"

// TestSurplusOfSlots: a connection is given back when the share shrinks, and when a call
// ends that was under way before it did.
func TestSurplusOfSlots(t *testing.T) {
	s := newSlots(3)
	for range 3 {
		if err := s.acquire(Urgent(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if !s.resize(1) || s.resize(1) {
		t.Error("fewer slots are not reported, or reported twice")
	}
	for n, want := range []bool{true, true, false} {
		if got := s.release(); got != want {
			t.Errorf("call %d: a surplus is %t", n, got)
		}
	}
}
