package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Reserve stores the reservation under a name unless there is one, and returns
// what is there then, with its revision. It is the caller's own if its Command is.
func (c *Commands) Reserve(ctx context.Context, name string, wanted pipeline.Reservation) (pipeline.Reservation, uint64, error) {
	wanted.Version = pipeline.Version
	revision, err := c.bucket.Create(ctx, name, pipeline.Encode(wanted))
	if js.Conflict(err) {
		return c.Reservation(ctx, name)
	}
	if err != nil {
		return pipeline.Reservation{}, 0, fmt.Errorf("reserve a request's key: %w", err)
	}
	return wanted, revision, nil
}

// Reservation is what is stored under a name; pipeline.ErrNotFound if there is none.
func (c *Commands) Reservation(ctx context.Context, name string) (pipeline.Reservation, uint64, error) {
	text, revision, err := c.bucket.Get(ctx, name)
	var held pipeline.Reservation
	switch {
	case err == nil && revision == 0:
		err = pipeline.ErrNotFound
	case err == nil:
		err = json.Unmarshal(text, &held)
	}
	if err != nil {
		return pipeline.Reservation{}, 0, fmt.Errorf("look up a request's key: %w", err)
	}
	return held, revision, nil
}

// UpdateReservation replaces a reservation if its revision is still the one
// given; pipeline.ErrConflict if not.
func (c *Commands) UpdateReservation(ctx context.Context, name string, held pipeline.Reservation, revision uint64) (uint64, error) {
	held.Version = pipeline.Version
	data := pipeline.Encode(held)
	updated, err := c.bucket.Update(ctx, name, data, revision)
	if js.Conflict(err) {
		// It may have been this very write, whose answer was lost.
		now, current, lookErr := c.bucket.Get(ctx, name)
		if lookErr == nil && current > 0 && bytes.Equal(now, data) {
			return current, nil
		}
		err = pipeline.ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("change a request's key: %w", err)
	}
	return updated, nil
}
