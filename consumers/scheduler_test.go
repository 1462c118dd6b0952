package consumers

import (
	"context"
	"slices"
	"testing"
)

// asked submits a request that notes its name when it is granted.
func asked(t *scheduler, granted *[]string, name string, as priority) *slotRequest {
	request := &slotRequest{priority: as, grant: func() { *granted = append(*granted, name) }}
	t.submit(request)
	return request
}

func TestTurnsLetTheUrgentGoFirst(t *testing.T) {
	shared := &scheduler{slots: 2, reserved: 1}
	var granted []string
	asked(shared, &granted, "a", ordinary)
	asked(shared, &granted, "b", ordinary)
	asked(shared, &granted, "c", ordinary)
	late := asked(shared, &granted, "d", ordinary)
	gone := asked(shared, &granted, "e", ordinary)
	asked(shared, &granted, "back", returning)
	asked(shared, &granted, "urgent 1", urgent)
	asked(shared, &granted, "urgent 2", urgent)
	if want := []string{"a", "b", "urgent 1"}; !slices.Equal(granted, want) {
		t.Fatalf("granted %v, want %v", granted, want)
	}
	shared.boost(late)
	if !shared.withdraw(gone) || shared.withdraw(gone) || !shared.crowded() {
		t.Error("a request can be withdrawn once, and others wait")
	}
	for range 6 {
		shared.release()
	}
	if want := []string{"a", "b", "urgent 1", "urgent 2", "d", "back", "c"}; !slices.Equal(granted, want) {
		t.Errorf("granted %v, want %v", granted, want)
	}
	if shared.crowded() {
		t.Error("nobody waits any more")
	}
}

// TestTurnsAreNotLost: who gives up waiting takes no slot with him.
func TestTurnsAreNotLost(t *testing.T) {
	w := &Worker{scheduler: &scheduler{slots: 1}}
	first, second := newServiceLoop(w, &partition{worker: w}, 7), newServiceLoop(w, &partition{worker: w}, 8)
	if err := first.slot.acquire(t.Context(), ordinary); err != nil || !first.slot.held {
		t.Fatalf("the only place was not given: %v", err)
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if second.slot.acquire(given, urgent) == nil || second.slot.held {
		t.Fatal("a place was given that there is not")
	}
	first.slot.release()
	if err := second.slot.acquire(t.Context(), ordinary); err != nil || w.scheduler.crowded() {
		t.Errorf("the place is not free: %v", err)
	}
}
