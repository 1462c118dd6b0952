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
	shared := newScheduler(2, 1)
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
	shared := newScheduler(1, 0)
	enter := func(ctx context.Context, as priority) error {
		request, granted := awaited(as)
		shared.submit(request)
		return shared.await(ctx, request, granted)
	}
	if err := enter(t.Context(), ordinary); err != nil {
		t.Fatal(err)
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if enter(given, urgent) == nil {
		t.Fatal("a place was given that there is not")
	}
	shared.release()
	if err := enter(t.Context(), ordinary); err != nil || shared.crowded() {
		t.Errorf("the place is not free: %v", err)
	}
}
