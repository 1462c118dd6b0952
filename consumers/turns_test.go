package consumers

import (
	"context"
	"slices"
	"testing"
)

// asked submits a request that notes its name when it is granted.
func asked(t *turns, granted *[]string, name string, urgent bool) *ticket {
	request := &ticket{urgent: urgent, grant: func() { *granted = append(*granted, name) }}
	t.submit(request)
	return request
}

func TestTurnsLetTheUrgentGoFirst(t *testing.T) {
	shared := newTurns(2, 1)
	var granted []string
	asked(shared, &granted, "a", false)
	asked(shared, &granted, "b", false)
	asked(shared, &granted, "c", false)
	late := asked(shared, &granted, "d", false)
	gone := asked(shared, &granted, "e", false)
	asked(shared, &granted, "urgent 1", true)
	asked(shared, &granted, "urgent 2", true)
	if want := []string{"a", "b", "urgent 1"}; !slices.Equal(granted, want) {
		t.Fatalf("granted %v, want %v", granted, want)
	}
	shared.hasten(late)
	if !shared.withdraw(gone) || shared.withdraw(gone) || !shared.crowded() {
		t.Error("a request can be withdrawn once, and others wait")
	}
	for range 5 {
		shared.leave()
	}
	if want := []string{"a", "b", "urgent 1", "urgent 2", "d", "c"}; !slices.Equal(granted, want) {
		t.Errorf("granted %v, want %v", granted, want)
	}
	if shared.crowded() {
		t.Error("nobody waits any more")
	}
}

// TestTurnsAreNotLost: who gives up waiting takes no place with him.
func TestTurnsAreNotLost(t *testing.T) {
	shared := newTurns(1, 0)
	if err := shared.enter(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if shared.enter(given, true) == nil {
		t.Fatal("a place was given that there is not")
	}
	shared.leave()
	if err := shared.enter(t.Context(), false); err != nil || shared.crowded() {
		t.Errorf("the place is not free: %v", err)
	}
}
