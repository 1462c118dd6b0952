package js

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// staleAfter is how long messages may wait to be stored. A process that was suspended
// meanwhile may have been overtaken; a slow server alone does not take as long.
const staleAfter = 5 * time.Second

// errStale is returned when a message was not stored because it had waited too long.
var errStale = errors.New("it waited too long to be stored: ownership has to be checked again")

// group is a stream's group commit: it stores the messages of several concurrent callers together,
// because on a stream of one replica each message alone costs an fsync. While
// one batch is being stored the next one gathers, and a single caller waits for no other.
type group struct {
	// store stores requests' entries, and sets their results.
	store func([]*entry)

	mutex   sync.Mutex
	waiting []*request // bounded by the callers, which wait
	running bool
	closed  bool
	wait    sync.WaitGroup
}

type request struct {
	entry
	since     time.Time
	abandoned <-chan struct{}
	done      chan struct{}
}

// Commit is Append together with other concurrent commits to the stream. It
// returns the sequence of the last message. After ctx's error the messages may be stored.
func (s *Stream) Commit(ctx context.Context, messages ...*nats.Msg) (uint64, error) {
	if len(messages) == 0 || ctx.Err() != nil {
		return 0, ctx.Err()
	}
	for _, message := range messages {
		carryTrace(ctx, message)
	}
	own := &request{entry: entry{messages: messages}, since: time.Now(), abandoned: ctx.Done(), done: make(chan struct{})}
	if err := s.group.add(own); err != nil {
		return 0, err
	}
	select {
	case <-own.done:
		return own.result.Sequence, own.result.Err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (g *group) add(own *request) error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.closed {
		return ErrClosed
	}
	g.waiting = append(g.waiting, own)
	if !g.running {
		g.running = true
		g.wait.Go(g.run)
	}
	return nil
}

// run stores the waiting requests, as many as fit into one batch each time. It leaves out abandoned
// requests, and those that have waited too long: the process may have been suspended.
func (g *group) run() {
	for {
		g.mutex.Lock()
		count, size := 0, 0
		for count < len(g.waiting) {
			if size += len(g.waiting[count].messages); count > 0 && size > maxBatch {
				break
			}
			count++
		}
		requests := g.waiting[:count:count]
		g.waiting = g.waiting[count:]
		if g.running = count > 0; !g.running {
			g.waiting = nil
		}
		g.mutex.Unlock()
		if count == 0 {
			return
		}
		var entries []*entry
		requests = slices.DeleteFunc(requests, func(one *request) bool {
			select {
			case <-one.abandoned:
				return true
			default:
			}
			if time.Since(one.since) > staleAfter {
				one.result.Err = errStale
			} else {
				entries = append(entries, &one.entry)
			}
			return false
		})
		g.store(entries)
		for _, one := range requests {
			close(one.done)
		}
	}
}
