// Package limit shares what an API can do among its users.
package limit

import "sync"

// Slots are a number of slots, shared fairly among users: of n users that have some, none
// gets more than an (n+1)th part, so that there is room for another one.
type Slots struct {
	most int
	// mostOfUser bounds a user's slots however few others there are; 0 is no bound.
	mostOfUser int

	mu     sync.Mutex
	taken  int
	byUser map[int]int
}

// NewSlots returns slots of which a user has at most mostOfUser; 0 is no bound.
func NewSlots(most, mostOfUser int) *Slots {
	return &Slots{most: most, mostOfUser: mostOfUser, byUser: map[int]int{}}
}

// Take gives the user a slot until release is called; ok reports whether there was one.
func (s *Slots) Take(uid int) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	users, own := len(s.byUser), s.byUser[uid]
	if own == 0 {
		users++
	}
	share := max(1, s.most/(users+1))
	if s.mostOfUser > 0 {
		share = min(share, s.mostOfUser)
	}
	if s.taken >= s.most || own >= share {
		return nil, false
	}
	s.taken++
	s.byUser[uid]++
	return sync.OnceFunc(func() { s.release(uid) }), true
}

func (s *Slots) release(uid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.byUser[uid]--; s.byUser[uid] == 0 {
		delete(s.byUser, uid)
	}
}
