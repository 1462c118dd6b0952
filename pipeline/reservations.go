package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
)

// Reservation is what BucketCommands holds under the name of a key with which
// a client marks a request, so that repeating it acts once.
type Reservation struct {
	Version int `json:"v"`
	// Command is the id of the command that the request leads to. Whatever the
	// request makes carries it, too.
	Command string `json:"command"`
	// Request is a digest: the same key with another request is a mistake.
	Request string `json:"request"`
	// Taken is since when the request is being worked on; zero when nobody is.
	Taken time.Time `json:"taken,omitzero"`
	// Began is when the first attempt was taken: what a request does at a time
	// counts from then, in every attempt.
	Began time.Time `json:"began,omitzero"`
	// Answer is the request's, once there is one.
	Answer *KeptAnswer `json:"answer,omitempty"`
}

// KeptAnswer is an HTTP answer that is given again.
type KeptAnswer struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Location    string `json:"location,omitempty"`
	Body        []byte `json:"body,omitempty"`
}

// Reserve stores the reservation under a name unless there is one, and returns
// what is there then, with its revision. It is the caller's own if its Command is.
func (p *Pipeline) Reserve(ctx context.Context, name string, wanted Reservation) (Reservation, uint64, error) {
	wanted.Version = Version
	var revision uint64
	err := persist(ctx, func(ctx context.Context) (err error) {
		revision, err = p.commands.Create(ctx, name, Encode(wanted))
		return err
	})
	if isConflict(err) {
		return p.Reservation(ctx, name)
	}
	if err != nil {
		return Reservation{}, 0, fmt.Errorf("reserve a request's key: %w", err)
	}
	return wanted, revision, nil
}

// Reservation is what is stored under a name; ErrNotFound if there is none.
func (p *Pipeline) Reservation(ctx context.Context, name string) (Reservation, uint64, error) {
	var entry jetstream.KeyValueEntry
	err := persist(ctx, func(ctx context.Context) (err error) {
		entry, err = p.commands.Get(ctx, name)
		return err
	})
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		err = ErrNotFound
	}
	var held Reservation
	if err == nil {
		err = json.Unmarshal(entry.Value(), &held)
	}
	if err != nil {
		return Reservation{}, 0, fmt.Errorf("look up a request's key: %w", err)
	}
	return held, entry.Revision(), nil
}

// UpdateReservation replaces a reservation if its revision is still the one
// given; ErrConflict if not.
func (p *Pipeline) UpdateReservation(ctx context.Context, name string, held Reservation, revision uint64) (uint64, error) {
	held.Version = Version
	data := Encode(held)
	err := persist(ctx, func(ctx context.Context) (err error) {
		revision, err = p.commands.Update(ctx, name, data, revision)
		return err
	})
	if isConflict(err) {
		// It may have been this very write, whose answer was lost.
		entry, lookErr := p.commands.Get(ctx, name)
		if lookErr == nil && bytes.Equal(entry.Value(), data) {
			return entry.Revision(), nil
		}
		err = ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("change a request's key: %w", err)
	}
	return revision, nil
}

// ResumeCommand is SubmitCommand for a command that may have been submitted
// before, by a process that has gone since: it is carried out once whatever
// became of the first attempt. The errors are SubmitCommand's.
func (p *Pipeline) ResumeCommand(ctx context.Context, command flow.Command, wait time.Duration) (Reply, error) {
	if err := p.register(ctx, command); err != nil {
		return Reply{}, err
	}
	status, err := p.storedStatus(ctx, command.ID)
	if err != nil {
		return Reply{}, err
	}
	if status.State == CommandQueued {
		if err := p.requeue(ctx, command); err != nil {
			return Reply{}, err
		}
		if status, err = p.awaitEnd(ctx, command, wait); err != nil {
			return Reply{}, err
		}
	}
	return status.reply(), nil
}

// requeue publishes a registered command unless it is in the stream. Two who
// do so at once publish one message: its id is the command's.
func (p *Pipeline) requeue(ctx context.Context, command flow.Command) error {
	stored, err := p.isStored(ctx, command)
	if err != nil || stored {
		return err
	}
	work := Work{Service: command.Service, Command: &command}
	if _, err := p.publishWork(ctx, work, commandMessage(command), ""); err != nil {
		return fmt.Errorf("queue command %s again: %w", command.ID, err)
	}
	return nil
}

// isStored looks through the service's work for the command.
func (p *Pipeline) isStored(ctx context.Context, command flow.Command) (bool, error) {
	r := p.newReader(StreamWork, StoredWorkSubject(command.Service), 0)
	defer r.Stop()
	if err := r.open(ctx); err != nil {
		return false, err
	}
	for pending := r.pending; pending > 0; {
		message, metadata, err := r.take(ctx)
		if err != nil {
			return false, fmt.Errorf("look for command %s in the work of service %d: %w", command.ID, command.Service, err)
		}
		pending = metadata.NumPending
		var work Work
		if json.Unmarshal(message.Data(), &work) == nil && work.Command != nil && work.Command.ID == command.ID {
			return true, nil
		}
	}
	return false, nil
}

// awaitEnd waits until the command has ended; ErrNoReply after wait.
func (p *Pipeline) awaitEnd(ctx context.Context, command flow.Command, wait time.Duration) (storedStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	unanswered := fmt.Errorf("command %s for service %d: %w", command.ID, command.Service, ErrNoReply)
	watcher, err := p.commands.Watch(ctx, command.ID)
	if err != nil {
		if ctx.Err() != nil {
			return storedStatus{}, unanswered
		}
		return storedStatus{}, fmt.Errorf("wait for command %s: %w", command.ID, err)
	}
	defer watcher.Stop() //nolint:errcheck // what was read is read
	for {
		select {
		case entry, open := <-watcher.Updates():
			var status storedStatus
			if !open {
				return storedStatus{}, unanswered
			}
			if entry != nil && json.Unmarshal(entry.Value(), &status) == nil && status.State != CommandQueued {
				return status, nil
			}
		case <-ctx.Done():
			return storedStatus{}, unanswered
		}
	}
}
