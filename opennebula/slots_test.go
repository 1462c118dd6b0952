package opennebula

import (
	"context"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
)

// TestSurplusOfSlots: a connection is given back when the share shrinks, and when a call
// ends that was under way before it did.
func TestSurplusOfSlots(t *testing.T) {
	s := newSlots(3)
	for range 3 {
		if err := s.acquire(Urgent(t.Context()), "", true); err != nil {
			t.Fatal(err)
		}
	}
	if !s.resize(1) || s.resize(1) {
		t.Error("fewer slots are not reported, or reported twice")
	}
	for n, want := range []bool{true, true, false} {
		if got := s.release(true); got != want {
			t.Errorf("call %d: a surplus is %t", n, got)
		}
	}
}

// TestReadsPassWrites: oned changes one thing at a time, and reads beside it.
func TestReadsPassWrites(t *testing.T) {
	s := newSlots(8)
	for range maxWrites {
		if err := s.acquire(t.Context(), "", true); err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	waits := make(chan error)
	go func() { waits <- s.acquire(ended, "", true) }()
	poll.Until(t, "a change too many to wait", func() bool { s.mutex.Lock(); defer s.mutex.Unlock(); return s.writing.Len() == 1 })
	for range 8 - 1 - maxWrites {
		if err := s.acquire(t.Context(), "", false); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-waits; err == nil {
		t.Errorf("%d changes are under way, want %d", s.writes, maxWrites)
	}
	if err := s.acquire(Urgent(t.Context()), "", true); err != nil {
		t.Fatal(err)
	}
	if s.used != 8 {
		t.Errorf("%d slots are taken, want all", s.used)
	}
}

// TestReadsGoFirst: a read waits for no change but the one under way, and a change for eight
// reads at most.
func TestReadsGoFirst(t *testing.T) {
	s := newSlots(2) // of which one is for what a client waits for
	if err := s.acquire(t.Context(), "", true); err != nil {
		t.Fatal(err)
	}
	order := make(chan bool)
	wait := func(writes bool) {
		queue := &s.reading
		if writes {
			queue = &s.writing
		}
		s.mutex.Lock()
		before := queue.Len()
		s.mutex.Unlock()
		go func() {
			if s.acquire(t.Context(), "", writes) == nil {
				order <- writes
			}
		}()
		poll.Until(t, "it to wait", func() bool { s.mutex.Lock(); defer s.mutex.Unlock(); return queue.Len() > before })
	}
	for range 2 {
		wait(true)
	}
	for range readsBefore + 1 {
		wait(false)
	}
	before := true // what held the slot before: a change
	for n := range readsBefore + 3 {
		s.release(before)
		before = <-order
		if want := n == readsBefore || n == readsBefore+2; before != want {
			t.Errorf("call %d: a change goes: %t, want %t", n, before, want)
		}
	}
}

// TestUsersTakeTurns: a client waits for no more than one call of each other user, however many those have.
func TestUsersTakeTurns(t *testing.T) {
	s := newSlots(1)
	if err := s.acquire(Urgent(t.Context()), "alice", false); err != nil {
		t.Fatal(err)
	}
	order := make(chan string)
	for n, user := range []string{"alice", "alice", "alice", "bob", "bob", "carol", "alice"} {
		go func() {
			if s.acquire(Urgent(t.Context()), user, false) == nil {
				order <- user
			}
		}()
		poll.Until(t, "it to wait", func() bool { s.mutex.Lock(); defer s.mutex.Unlock(); return s.urgent.Len() == n+1 })
	}
	for n, want := range []string{"bob", "carol", "alice", "bob", "alice", "alice", "alice"} {
		s.release(false)
		if got := <-order; got != want {
			t.Errorf("number %d is a call of %s, want %s", n, got, want)
		}
	}
}

// TestClientsDoNotStopServices: however many calls wait for which clients wait, the others go on.
func TestClientsDoNotStopServices(t *testing.T) {
	for _, size := range []int{1, 2, 8} {
		s := newSlots(size)
		for range size {
			if err := s.acquire(Urgent(t.Context()), "alice", true); err != nil {
				t.Fatal(err)
			}
		}
		order := make(chan bool)
		waits := func(ctx context.Context, count int) {
			for n := range count {
				queue := &s.writing
				if isUrgent(ctx) {
					queue = &s.urgent
				}
				go func() {
					if s.acquire(ctx, "alice", true) == nil {
						order <- isUrgent(ctx)
					}
				}()
				poll.Until(t, "it to wait", func() bool { s.mutex.Lock(); defer s.mutex.Unlock(); return queue.Len() == n+1 })
			}
		}
		waits(t.Context(), 2)
		waits(Urgent(t.Context()), 2*urgentBefore)
		for n := range 2 * (urgentBefore + 1) {
			s.release(true)
			if got, want := <-order, n%(urgentBefore+1) != urgentBefore; got != want {
				t.Errorf("of %d slots, call %d is urgent: %t", size, n, got)
			}
		}
	}
}
