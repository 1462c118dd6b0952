// Package liveness keeps who of those that announce themselves again and again is alive.
package liveness

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// maxMembers bounds how many a set remembers.
const maxMembers = 1024

// Set is what was last heard of each live member. It is safe for use by several goroutines.
type Set[T any] struct {
	silence      time.Duration
	subscription *nats.Subscription

	mu      sync.Mutex
	members map[string]member[T]
}

type member[T any] struct {
	said T
	at   time.Time
}

// New returns a set whose members are dead after so much silence.
func New[T any](silence time.Duration) *Set[T] {
	return &Set[T]{silence: silence, members: map[string]member[T]{}}
}

// Listen returns a set of those who announce themselves in JSON on a subject, until Stop. who
// returns the id of one of them, empty for somebody else, and whether it leaves.
func Listen[T any](conn *nats.Conn, subject string, silence time.Duration, who func(T) (id string, leaving bool)) (s *Set[T], err error) {
	s = New[T](silence)
	s.subscription, err = conn.Subscribe(subject, func(message *nats.Msg) {
		var said T
		if json.Unmarshal(message.Data, &said) != nil {
			return
		}
		switch id, leaving := who(said); {
		case id == "":
		case leaving:
			s.Left(id)
		default:
			s.Heard(id, said)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", subject, err)
	}
	return s, nil
}

// Stop ends the listening.
func (s *Set[T]) Stop() { _ = s.subscription.Unsubscribe() }

// Heard notes what a member said of itself.
func (s *Set[T]) Heard(id string, said T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.members[id]; known || len(s.members) < maxMembers {
		s.members[id] = member[T]{said, time.Now()}
	}
}

// Left removes a member.
func (s *Set[T]) Left(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members, id)
}

// Clear removes all members.
func (s *Set[T]) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.members)
}

// Live is what the live members said last, by their ids.
func (s *Set[T]) Live() map[string]T {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.members, func(_ string, heard member[T]) bool { return now.Sub(heard.at) >= s.silence })
	live := make(map[string]T, len(s.members))
	for id, heard := range s.members {
		live[id] = heard.said
	}
	return live
}

// Announcer announces a member until it leaves.
type Announcer struct {
	end  context.CancelFunc
	done chan struct{}
}

// Announce calls announce every so often until Leave, or until life ends, and then once more with leaving.
func Announce(life context.Context, every time.Duration, announce func(leaving bool)) Announcer {
	life, end := context.WithCancel(life)
	a := Announcer{end, make(chan struct{})}
	go func() {
		defer close(a.done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				announce(false)
			case <-life.Done():
				announce(true)
				return
			}
		}
	}()
	return a
}

// Leave announces that the member is gone, and waits for that until ctx ends.
func (a Announcer) Leave(ctx context.Context) {
	a.end()
	select {
	case <-a.done:
	case <-ctx.Done():
	}
}
