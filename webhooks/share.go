package webhooks

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

const (
	// maxPendingOfOwner bounds how many deliveries wait for the receivers that the services of one user name. The stream has room for some 200,000.
	maxPendingOfOwner = 10_000
	// maxOverflow is how many of one user's deliveries that find no room become dead letters in overflowPeriod, those to receivers of his services, and
	// those to each of the configuration; the others are dropped. Otherwise he could push all other dead letters out of their stream.
	maxOverflow    = 1000
	overflowPeriod = time.Hour
	// maxFull bounds how many full subjects are remembered. The stream has room for fewer; others have become empty.
	maxFull = 1000
)

// shares count what each user has in the streams by the receivers that his services name. They are used by the search for receivers alone.
type shares struct {
	pending map[string]int
	// owners are the owners of services with waiting deliveries.
	owners   map[int]string
	overflow map[string]overflow
	// full are the subjects whose last delivery found no room.
	full map[string]bool
}

type overflow struct {
	since      time.Time
	deliveries int
}

func newShares() *shares {
	return &shares{pending: map[string]int{}, owners: map[int]string{}, overflow: map[string]overflow{}, full: map[string]bool{}}
}

// recount counts the waiting deliveries by owner. As long as all together are fewer than one user may have there is nothing to count.
func (s *shares) recount(ctx context.Context, pipe clients, total uint64) error {
	if len(s.full) > maxFull {
		clear(s.full)
	}
	if total < maxPendingOfOwner {
		clear(s.pending)
		clear(s.owners)
		return nil
	}
	waiting, err := pipe.PendingBySubject(ctx)
	if err != nil {
		return err
	}
	pending, owners := map[string]int{}, map[int]string{}
	for subject, count := range waiting {
		receiver, service, ok := pipeline.ReadHookSubject(subject)
		if !ok || !strings.HasPrefix(receiver, ofService) {
			continue
		}
		owner, err := s.ownerOf(ctx, pipe, service)
		if err != nil {
			return err
		}
		owners[service] = owner
		pending[owner] += int(min(count, 1<<31)) //nolint:gosec // a bound
	}
	s.pending, s.owners = pending, owners
	return nil
}

// add counts a delivery that is queued, and reports whether there is room for it.
func (s *shares) add(service int, owner string) bool {
	if s.pending[owner] >= maxPendingOfOwner {
		return false
	}
	s.pending[owner]++
	s.owners[service] = owner
	return true
}

// stored notes how a delivery that was added, or is to a receiver of the configuration, was stored: it was, or its subject was full.
func (s *shares) stored(queued deliveries.Queued, full bool) {
	if !full {
		delete(s.full, queued.Subject)
		return
	}
	s.full[queued.Subject] = true
	if queued.Receiver == "" {
		s.pending[queued.Owner]--
	}
}

// ownerOf returns a service's owner, from its record if it is not known.
func (s *shares) ownerOf(ctx context.Context, pipe clients, service int) (string, error) {
	if owner, known := s.owners[service]; known {
		return owner, nil
	}
	owner, err := pipe.OwnerOf(ctx, service)
	if err == nil {
		s.owners[service] = owner
	}
	return owner, err
}

// addOverflow counts a delivery without room about a user's service, to a receiver of the configuration or with an empty name to one of the service, and
// returns how many there have been in the period.
func (s *shares) addOverflow(owner, receiver string, now time.Time) int {
	key := owner
	if receiver != "" {
		key = receiver + "\x00" + owner
	}
	used := s.overflow[key]
	if now.Sub(used.since) >= overflowPeriod {
		used = overflow{since: now}
	}
	used.deliveries++
	s.overflow[key] = used
	return used.deliveries
}

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
