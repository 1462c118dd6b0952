package restapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
)

const (
	// commandLife is for how long a command's status is kept: what has not been
	// heard of for longer is not waited for.
	commandLife = 24 * time.Hour
	// followPause is between two attempts to follow the commands.
	followPause = time.Second
)

// backlog knows the commands that wait for their workers, of all APIs, and
// bounds them. Its own it knows at once; of the others' it reads in JetStream a
// moment later, so that APIs together may exceed the bound by what arrives at
// them in that moment.
type backlog struct {
	all, ofUser int
	now         func() time.Time

	mu      sync.Mutex
	waiting map[string]waitingCommand
	users   map[int]int
}

type waitingCommand struct {
	uid   int
	since time.Time
}

func newBacklog(all, ofUser int) *backlog {
	return &backlog{all: all, ofUser: ofUser, now: time.Now, waiting: map[string]waitingCommand{}, users: map[int]int{}}
}

// enter notes a command of this API, or refuses it when too many wait.
func (b *backlog) enter(id string, uid int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) >= b.all || b.users[uid] >= b.ofUser {
		for id, held := range b.waiting {
			if b.now().Sub(held.since) > commandLife {
				b.forget(id)
			}
		}
	}
	switch {
	case b.users[uid] >= b.ofUser:
		return waitingError("%d of your commands are already queued; try again when some have been executed", b.ofUser)
	case len(b.waiting) >= b.all:
		return waitingError("%d commands are already queued; try again when some have been executed", b.all)
	}
	b.note(id, uid)
	return nil
}

func waitingError(format string, bound int) error {
	return &busyError{http.StatusTooManyRequests, 2 * time.Second, fmt.Sprintf(format, bound)}
}

func (b *backlog) note(id string, uid int) {
	if _, known := b.waiting[id]; known {
		return
	}
	b.waiting[id] = waitingCommand{uid, b.now()}
	b.users[uid]++
}

func (b *backlog) leave(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(id)
}

func (b *backlog) forget(id string) {
	held, known := b.waiting[id]
	if !known {
		return
	}
	delete(b.waiting, id)
	if b.users[held.uid]--; b.users[held.uid] == 0 {
		delete(b.users, held.uid)
	}
}

func (b *backlog) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// follow reads what is queued and what ends, until ctx does.
func (b *backlog) follow(ctx context.Context, commands queue, logger *slog.Logger) {
	for ctx.Err() == nil {
		err := b.read(ctx, commands)
		if ctx.Err() != nil || errors.Is(err, pipeline.ErrClosed) {
			return
		}
		logger.Warn("the commands of other APIs cannot be counted, retrying; this API counts only its own", "error", err)
		_ = idle.For(ctx, followPause) // it ends with ctx
	}
}

func (b *backlog) read(ctx context.Context, commands queue) error {
	changes, err := commands.ReadCommandChanges(ctx)
	if err != nil {
		return err
	}
	defer changes.Stop()
	for {
		change, err := changes.Next(ctx)
		if err != nil {
			return err
		}
		b.mu.Lock()
		if change.Waiting {
			b.note(change.ID, change.UID)
		} else {
			b.forget(change.ID)
		}
		b.mu.Unlock()
	}
}
