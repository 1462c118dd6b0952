package consumers

import (
	"context"
	"errors"

	"github.com/flowjet/flowjet/pipeline"
)

// storeOrUndo commits what was made. A worker that has been overtaken meanwhile
// may have made it for a service that has ended since: nobody else will ever
// look for it, so it is undone.
func (l *lane) storeOrUndo(ctx context.Context, what string, id int, undo func(context.Context, int) error) error {
	err := l.store(ctx)
	if !errors.Is(err, pipeline.ErrConflict) {
		return err
	}
	record, _, loadErr := l.worker.pipe.LoadRecord(ctx, l.service)
	if loadErr != nil || !record.Deleted {
		return errors.Join(err, loadErr)
	}
	l.worker.config.Logger.Warn("made after its service had ended, and deleted", "service", l.service, "kind", what, "id", id)
	return errors.Join(err, undo(ctx, id))
}
