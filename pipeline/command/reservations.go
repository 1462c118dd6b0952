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

// Reader reads the commands that wait for their workers, whichever API has
// queued them. Next is for one goroutine at a time; Stop may be called from any.
type Reader struct{ *js.Reader }

// keyPrefix is the part of a command's subject before its id.
var keyPrefix = pipeline.KeySubject(pipeline.BucketCommands, "")

// ReadCommandChanges reads the latest change of each command that is kept, and
// then every change. A command that ended before it was read is returned once.
func (c *Commands) ReadCommandChanges(ctx context.Context) (*Reader, error) {
	r, err := c.core.Stream(pipeline.StreamOf(pipeline.BucketCommands)).Read(ctx, keyPrefix+">", 0)
	if err != nil {
		return nil, err
	}
	return &Reader{r}, nil
}

// Next waits for the next change. Other data beside the commands is skipped. It
// returns ctx's error, or pipeline.ErrClosed after Stop.
func (r *Reader) Next(ctx context.Context) (Change, error) {
	for {
		message, err := r.Reader.Next(ctx)
		if err != nil {
			return Change{}, err
		}
		id := strings.TrimPrefix(message.Subject, keyPrefix)
		if len(message.Data) == 0 {
			return Change{ID: id}, nil // it was withdrawn
		}
		var status pipeline.CommandStatus
		switch {
		case json.Unmarshal(message.Data, &status) != nil || status.ID != id: // a request's key
		case status.State != pipeline.CommandQueued:
			return Change{ID: id}, nil
		default:
			return Change{ID: id, UID: status.UID, Since: message.Time, Waiting: true}, nil
		}
	}
}
