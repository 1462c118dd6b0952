// Package liveness tracks which members are alive, by their repeated announcements.
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

const (
	// maxMembers bounds the members of a set.
	maxMembers = 1024
	// calmAfter is for how long a patient set remembers that a member was late.
	calmAfter = time.Minute
)

// Set is the last announcement of each live member. It is safe for use by several goroutines.
type Set[T any] struct {
	silence, most time.Duration
	subscription  *nats.Subscription

	mu      sync.Mutex
	members map[string]member[T]
	// late is the longest silence after which a member announced itself again, and calm when that is forgotten.
	late time.Duration
	calm time.Time
}

type member[T any] struct {
	said T
	at   time.Time
}

// New returns a set whose members are dead after so much silence, and, for a minute after one announced itself again that had been silent
// for longer, only after twice as much as that one, but most at most: over a network that loses packets announcements are late by seconds,
// and their members would otherwise be mistaken for dead again and again.
func New[T any](silence, most time.Duration) *Set[T] {
	return &Set[T]{silence: silence, most: most, members: map[string]member[T]{}}
}

// Listen returns a set of the members that announce themselves in JSON on a subject, until Stop. who
// returns the id of a member, empty for any other process, and whether it leaves.
func Listen[T any](conn *nats.Conn, subject string, silence time.Duration, who func(T) (id string, leaving bool)) (s *Set[T], err error) {
	s = New[T](silence, silence)
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

// Stop stops listening.
func (s *Set[T]) Stop() { _ = s.subscription.Unsubscribe() }

// Heard stores a member's announcement.
func (s *Set[T]) Heard(id string, said T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard, known := s.members[id]
	if !known && len(s.members) >= maxMembers {
		return
	}
	now := time.Now()
	if gap := now.Sub(heard.at); known && gap >= s.silence && gap < s.most {
		s.late, s.calm = max(s.late, gap), now.Add(calmAfter)
	}
	s.members[id] = member[T]{said, now}
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

// Live returns the last announcements of the live members, by their ids.
func (s *Set[T]) Live() map[string]T {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.members, func(_ string, heard member[T]) bool { return now.Sub(heard.at) >= s.most })
	if now.After(s.calm) {
		s.late = 0
	}
	silence := max(s.silence, min(2*s.late, s.most))
	live := make(map[string]T, len(s.members))
	for id, heard := range s.members {
		if now.Sub(heard.at) < silence {
			live[id] = heard.said
		}
	}
	return live
}

// Announcer announces a member until it leaves.
type Announcer struct {
	end  context.CancelFunc
	done chan struct{}
}

// Announce calls announce periodically until Leave, or until life ends, and then once more with leaving.
func Announce(life context.Context, every time.Duration, announce func(leaving bool)) Announcer {
	life, end := context.WithCancel(life)
	a := Announcer{end, make(chan struct{})}
	go func() {
		defer close(a.done)
		for tick := time.Tick(every); ; {
			select {
			case <-tick:
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
