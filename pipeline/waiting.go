package pipeline

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// CommandChange is a command that has been queued, or waits no longer.
type CommandChange struct {
	ID string
	// UID is the user's who sent it; only set while it waits.
	UID     int
	Waiting bool
}

// CommandReader reads which commands wait for their workers, whichever API has
// queued them. Next is for one goroutine at a time; Stop may be called from any.
type CommandReader struct{ *reader }

// commandsPrefix is what a command's subject has before its id.
const commandsPrefix = "$KV." + BucketCommands + "."

// ReadCommandChanges reads the latest change of each command that is kept, and
// then what changes. A command that ended before it was read of is told once.
func (p *Pipeline) ReadCommandChanges(ctx context.Context) (*CommandReader, error) {
	r := &CommandReader{p.newReader(bucketPrefix+BucketCommands, commandsPrefix+">", 0)}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Next waits for the next change. What is stored beside commands is skipped. It
// returns ctx's error, or ErrClosed after Stop.
func (r *CommandReader) Next(ctx context.Context) (CommandChange, error) {
	for {
		message, _, err := r.next(ctx)
		if err != nil {
			return CommandChange{}, err
		}
		if change, ok := decodeCommandChange(message); ok {
			return change, nil
		}
	}
}

func decodeCommandChange(message jetstream.Msg) (CommandChange, bool) {
	id := strings.TrimPrefix(message.Subject(), commandsPrefix)
	if len(message.Data()) == 0 {
		return CommandChange{ID: id}, true // it was withdrawn
	}
	var status CommandStatus
	if json.Unmarshal(message.Data(), &status) != nil || status.ID != id {
		return CommandChange{}, false // a request's key
	}
	if status.State != CommandQueued {
		return CommandChange{ID: id}, true
	}
	return CommandChange{ID: id, UID: status.UID, Waiting: true}, true
}
