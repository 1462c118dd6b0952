package restapi

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// locks make documents exclusive to one request at a time.
type locks struct{ *reservations }

// alone makes a change that goes to oned directly, and not through a worker,
// safe for requests with If-Match: oned has no compare-and-set on documents, so
// of those requests, whichever API they come to, one is worked on at a time,
// and the document is held against the tag in that time.
func (l locks) alone(act documentAction) documentAction {
	return func(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
		tags, err := r.ifMatch()
		if err != nil {
			return answer{}, err
		}
		if len(tags) == 0 || r.dryRun() {
			return act(ctx, r, document, params)
		}
		ctx, cancel := context.WithTimeout(ctx, keyedTimeout)
		defer cancel()
		release, err := l.lock(ctx, document, cancel)
		if err != nil {
			return answer{}, err
		}
		defer release()
		if document, err = r.read(ctx, document.Type, document.ID); err != nil {
			return answer{}, err
		}
		if !document.Matches(tags) {
			return answer{}, changed(document)
		}
		return act(ctx, r, document, params)
	}
}

// lock makes a document this request's alone among those with If-Match, until
// release is called. lost is called if another API takes it, which has not seen it renewed.
func (l locks) lock(ctx context.Context, document opennebula.Document, lost context.CancelFunc) (release func(), err error) {
	name := fmt.Sprintf("lock-%d", document.ID)
	mine := pipeline.Reservation{Command: rand.Text(), Taken: time.Now().UTC()}
	held, revision, err := l.queue.Reserve(ctx, name, mine)
	if err != nil {
		return nil, &queueError{err}
	}
	if held.Command != mine.Command {
		busy := &busyError{http.StatusConflict, time.Second, fmt.Sprintf("another request with If-Match is changing %s %d; try again", kindNames[document.Type], document.ID)}
		heir := func(pipeline.Reservation) pipeline.Reservation { return mine }
		if mine, revision, err = l.takeOver(ctx, name, held, revision, heir, busy); err != nil {
			return nil, err
		}
	}
	lease := l.hold(name, mine, revision, lost)
	return func() {
		if revision, superseded := lease.end(); !superseded {
			l.release(ctx, name, mine, revision)
		}
	}, nil
}
