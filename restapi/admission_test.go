package restapi

import "testing"

func TestTheThrottleIsBounded(t *testing.T) {
	limit := newAdmission(limitedTo(func(l *limits) { l.verdicts = 10 })).throttle
	for uid := range 100 {
		if wait, ok := limit.take(bucketKey{uid: uid}, 1, 1, 2); !ok {
			t.Fatalf("user %d has to wait %v", uid, wait)
		}
	}
	if len(limit.buckets) > 10 {
		t.Errorf("%d buckets", len(limit.buckets))
	}
}

func TestSlotsAreSharedAmongUsers(t *testing.T) {
	s := newSlots(100, 100)
	taken := map[int]int{}
	fill := func(uid int) {
		for {
			if _, ok := s.acquire(uid, 1); !ok {
				return
			}
			taken[uid]++
		}
	}
	for uid := range 3 {
		fill(uid)
		if taken[uid] == 0 {
			t.Errorf("user %d got nothing beside %v", uid, taken)
		}
	}
	if taken[0] != 50 || taken[1] != 33 {
		t.Errorf("got %v, want a half for the first and a third for the second", taken)
	}
	own := newSlots(200, 20)
	count := 0
	var last func()
	for {
		release, ok := own.acquire(7, 1)
		if !ok {
			break
		}
		count, last = count+1, release
	}
	last()
	last() // a second time is nothing
	if _, ok := own.acquire(7, 1); count != 20 || !ok {
		t.Errorf("a user got %d slots, and then another one: %t", count, ok)
	}
	if _, ok := own.acquire(7, 1); ok {
		t.Error("a slot was released twice")
	}
}
