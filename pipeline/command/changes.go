package command

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Change is a command that has been queued, or waits no longer.
type Change struct {
	ID string
	// UID is the user's who sent it; only set while it waits.
	UID     int
	Waiting bool
}

// Reader reads which commands wait for their workers, whichever API has
// queued them. Next is for one goroutine at a time; Stop may be called from any.
type Reader struct{ *js.Reader }

// keyPrefix is what a command's subject has before its id.
var keyPrefix = pipeline.KeySubject(pipeline.BucketCommands, "")

// ReadCommandChanges reads the latest change of each command that is kept, and
// then what changes. A command that ended before it was read comes once.
func (c *Commands) ReadCommandChanges(ctx context.Context) (*Reader, error) {
	r, err := c.core.Stream(pipeline.StreamOf(pipeline.BucketCommands)).Read(ctx, keyPrefix+">", 0)
	if err != nil {
		return nil, err
	}
	return &Reader{r}, nil
}

// Next waits for the next change. What is stored beside commands is skipped. It
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
			return Change{ID: id, UID: status.UID, Waiting: true}, nil
		}
	}
}
