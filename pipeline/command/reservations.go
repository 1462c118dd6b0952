package command

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Reserve stores the reservation under a name unless there is one, and returns
// the stored one, with its revision. It is the caller's own if its Command is.
func (c *Commands) Reserve(ctx context.Context, name string, wanted pipeline.Reservation) (pipeline.Reservation, uint64, error) {
	wanted.Version = pipeline.Version
	revision, err := c.bucket.Create(ctx, name, pipeline.Encode(wanted))
	if js.Conflict(err) {
		return c.Reservation(ctx, name)
	}
	errs.Wrap(&err, "reserve a request's key")
	return wanted, revision, err
}

// Reservation returns the reservation under a name; pipeline.ErrNotFound if there is none.
func (c *Commands) Reservation(ctx context.Context, name string) (held pipeline.Reservation, revision uint64, err error) {
	defer errs.Wrap(&err, "look up a request's key")
	text, revision, err := c.bucket.Get(ctx, name)
	switch {
	case err == nil && revision == 0:
		err = pipeline.ErrNotFound
	case err == nil:
		err = json.Unmarshal(text, &held)
	}
	return held, revision, err
}

// UpdateReservation replaces a reservation if its revision is still the one
// given; pipeline.ErrConflict if not.
func (c *Commands) UpdateReservation(ctx context.Context, name string, held pipeline.Reservation, revision uint64) (updated uint64, err error) {
	defer errs.Wrap(&err, "change a request's key")
	held.Version = pipeline.Version
	data := pipeline.Encode(held)
	if updated, err = c.bucket.Update(ctx, name, data, revision); js.Conflict(err) {
		// It may have been this very write, whose answer was lost.
		now, current, failed := c.bucket.Get(ctx, name)
		if failed == nil && current > 0 && bytes.Equal(now, data) {
			return current, nil
		}
		err = pipeline.ErrConflict
	}
	return updated, err
}

// Change is a command that has been queued, or waits no longer.
type Change struct {
	ID string
	// UID is that of the sender, Since when it was queued; only set while it waits.
	UID     int
	Since   time.Time
	Waiting bool
}

// keyPrefix is the part of a command's subject before its id.
var keyPrefix = pipeline.KeySubject(pipeline.BucketCommands, "")

// FollowCommands visits the latest change of each command that is kept, whichever API has queued it, and
// then every change. A command that ended before it was read is visited once. It returns ctx's error, or pipeline.ErrClosed.
func (c *Commands) FollowCommands(ctx context.Context, visit func(Change)) error {
	return c.core.Stream(pipeline.StreamOf(pipeline.BucketCommands)).Follow(ctx, keyPrefix+">", 0, func(message js.Message) {
		id := strings.TrimPrefix(message.Subject, keyPrefix)
		var status pipeline.CommandStatus
		switch {
		case len(message.Data) == 0: // it was withdrawn
			visit(Change{ID: id})
		case json.Unmarshal(message.Data, &status) != nil || status.ID != id: // a request's key
		case status.State != pipeline.CommandQueued:
			visit(Change{ID: id})
		default:
			visit(Change{ID: id, UID: status.UID, Since: message.Time, Waiting: true})
		}
	})
}
