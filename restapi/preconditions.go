package restapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// maxTags bounds how many entity tags a request may name.
const maxTags = 32

// ifMatch are the entity tags of a changing request's If-Match; none without it.
func (r *request) ifMatch() ([]string, error) {
	if r.Method == http.MethodGet {
		return nil, nil
	}
	tags := entityTags(r.Header.Values("If-Match"))
	if len(tags) > maxTags {
		return nil, badRequest("If-Match names %d entity tags; name at most %d", len(tags), maxTags)
	}
	return tags, nil
}

func entityTags(headers []string) []string {
	var tags []string
	for _, header := range headers {
		for tag := range strings.SplitSeq(header, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}

// unchanged holds a changing request's If-Match against the document as it was
// just read: 412 if it has changed. This spares others the wait. What counts is
// the second look: the worker's when it carries the command out, or alone's.
func (r *request) unchanged(document opennebula.Document) error {
	tags, err := r.ifMatch()
	if err != nil || document.Matches(tags) {
		return err
	}
	if r.keyed != nil && r.keyed.again {
		return nil // an earlier attempt may have changed it: the second look tells
	}
	return changed(document)
}

func changed(document opennebula.Document) error {
	return &statusError{http.StatusPreconditionFailed, fmt.Sprintf("%s %d has changed since it was read (its ETag is %s now): read it again and decide again",
		kindNames[document.Type], document.ID, document.ETag())}
}

// alone makes a change that goes to oned directly, and not through a worker,
// safe for requests with If-Match: oned has no compare-and-set on documents, so
// of those requests, whichever API they come to, one is worked on at a time,
// and the document is held against the tag in that time.
func (s *Server) alone(act documentAction) documentAction {
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
		release, err := s.lock(ctx, document, cancel)
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
func (s *Server) lock(ctx context.Context, document opennebula.Document, lost context.CancelFunc) (release func(), err error) {
	name := fmt.Sprintf("lock-%d", document.ID)
	mine := pipeline.Reservation{Command: rand.Text(), Taken: time.Now().UTC()}
	limit := time.NewTimer(s.config.ReplyWait)
	defer limit.Stop()
	look := time.NewTicker(keyLook)
	defer look.Stop()
	held, revision, err := s.queue.Reserve(ctx, name, mine)
	var holder watchedHolder
	for err == nil && held.Command != mine.Command {
		if holder.dead(held, revision) {
			mine.Taken = time.Now().UTC()
			revision, err = s.queue.UpdateReservation(ctx, name, mine, revision)
			if err == nil {
				break
			}
			if !errors.Is(err, pipeline.ErrConflict) {
				return nil, &queueError{err}
			}
		}
		select {
		case <-look.C:
		case <-limit.C:
			return nil, &busyError{http.StatusConflict, time.Second, fmt.Sprintf("another request with If-Match is changing %s %d; ask again", kindNames[document.Type], document.ID)}
		}
		held, revision, err = s.queue.Reservation(ctx, name)
	}
	if err != nil {
		return nil, &queueError{err}
	}
	lease := holdKey(s.queue, name, mine, revision, lost)
	return func() {
		if revision, superseded := lease.end(); !superseded {
			s.unlock(ctx, name, mine, revision)
		}
	}, nil
}

func (s *Server) unlock(ctx context.Context, name string, mine pipeline.Reservation, revision uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	mine.Taken = time.Time{}
	if _, err := s.queue.UpdateReservation(ctx, name, mine, revision); err != nil && !errors.Is(err, pipeline.ErrConflict) {
		s.logger.Warn("a document stays locked for requests with If-Match until its lease ends", "lock", name, "error", err)
	}
}

// showRead is a document as the answer to a read, or 304 for who has it.
func (s *Server) showRead(r *request, document opennebula.Document) (answer, error) {
	etag := document.ETag()
	if given := entityTags(r.Header.Values("If-None-Match")); slices.Contains(given, "*") || slices.Contains(given, etag) {
		return answer{status: http.StatusNotModified, etag: etag}, nil
	}
	reply, err := s.show(http.StatusOK, document)
	reply.etag = etag
	return reply, err
}
