package webhooks

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

const (
	// maxPosts bounds the concurrent attempts to receivers of the configuration, and also those to receivers that services name: users whose
	// receivers hang hold up no receiver of the configuration.
	maxPosts = 256
	// maxPostsOfReceiver bounds those to one receiver, and maxPostsOfOwner those for the services of one user.
	maxPostsOfReceiver = 8
	maxPostsOfOwner    = 64
	// maxPostsToHost bounds the concurrent attempts to one host for the services of one user. A bound of the connections to a host would be shared
	// by all users with receivers there.
	maxPostsToHost = 32
)

// attemptSlots are the attempts that may be made at once.
type attemptSlots struct {
	configured                   *slots // of the receivers of the configuration
	toReceiver, toHost, forOwner *slots // of the receivers that services name
}

// slot is one of the slots of a key.
type slot struct {
	*slots
	key string
}

// slotsOf returns what an attempt needs. The receiver's own slot comes first, then its owner's: what waits for a hanging receiver must not use the
// others' room.
func (a attemptSlots) slotsOf(queued deliveries.Queued) []slot {
	receiver, _, _ := pipeline.ReadHookSubject(queued.Subject)
	if queued.URL == "" {
		return []slot{{a.configured, receiver}}
	}
	return []slot{{a.toReceiver, queued.Owner + " " + receiver}, {a.toHost, queued.Owner + " " + hostOf(queued.URL)}, {a.forOwner, queued.Owner}}
}

// slots are divided among keys in use.
type slots struct {
	// most bounds the slots of one key, and all those of all keys together, unless it is 0. Then no key gets more slots than are free: however
	// many keys use all that they can get, there is room for another.
	most, all int

	mutex   sync.Mutex
	busy    int
	used    map[string]int
	waiting map[string][]func()
}

func newSlots(most, all int) *slots {
	return &slots{most: most, all: all, used: map[string]int{}, waiting: map[string][]func(){}}
}

// request has granted called once the key has one more slot, until its release.
func (s *slots) request(key string, granted func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.waiting[key] = append(s.waiting[key], granted)
	s.grant(key)
}

// release gives a slot back. Where the keys share all slots, the waiting key with the fewest gets it.
func (s *slots) release(key string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.busy--
	if s.used[key]--; s.used[key] == 0 {
		delete(s.used, key)
	}
	next := []string{key}
	if s.all > 0 {
		next = slices.SortedFunc(maps.Keys(s.waiting), func(a, b string) int { return cmp.Compare(s.used[a], s.used[b]) })
	}
	for _, key := range next {
		s.grant(key)
	}
}

// grant gives a key that waits the slots that it can get. The mutex is held.
func (s *slots) grant(key string) {
	for len(s.waiting[key]) > 0 && s.used[key] < s.most && (s.all == 0 || s.used[key] < s.all-s.busy) {
		granted := s.waiting[key][0]
		if s.waiting[key] = s.waiting[key][1:]; len(s.waiting[key]) == 0 {
			delete(s.waiting, key)
		}
		s.used[key]++
		s.busy++
		granted()
	}
}
