package restapi

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
)

// ahead hands out sessions in which services are read as their records say. The record of
// a service is stored before anything else is done, and its document at oned follows
// within a second: what is read is never older than what was decided. Whether the caller
// may see a service, and a document that somebody else has changed, are oned's.
type ahead struct {
	sessions
	lists *lists
	queue queue
	box   *seal.Box
}

func (a ahead) as(user string) session { return aheadSession{a.sessions.as(user), a, user} }

type aheadSession struct {
	session
	ahead ahead
	user  string
}

// Document reads one document.
func (s aheadSession) Document(ctx context.Context, id int) (opennebula.Document, error) {
	document, err := s.session.Document(ctx, id)
	if err == nil {
		s.ahead.bringUp(ctx, &document)
	}
	return document, err
}

const recordsAtOnce = 16

// Documents lists documents. The records of services at rest are not read: their documents
// are written before anybody is told of a change. All that the user may see may have been
// listed before: then the records that have changed since are read, too.
func (s aheadSession) Documents(ctx context.Context, documentType, filter, start, end int) (documents []opennebula.Document, err error) {
	var decided map[int]bool
	if filter == allVisible && start == -1 && end == -1 {
		documents, decided, err = s.ahead.lists.documents(ctx, listKey{s.user, documentType})
	} else {
		documents, err = s.session.Documents(ctx, documentType, filter, start, end)
	}
	if err != nil || documentType != spec.DocumentTypeService {
		return documents, err
	}
	documents = slices.Clone(documents)
	var reads errgroup.Group
	reads.SetLimit(recordsAtOnce)
	for i := range documents {
		if decided[documents[i].ID] || mayWait(documents[i].Body) {
			reads.Go(func() error { s.ahead.bringUp(ctx, &documents[i]); return nil })
		}
	}
	return documents, reads.Wait()
}

// mayWait reports whether a service's text names a state that passes, its own or a role's.
func mayWait(text []byte) bool {
	for {
		_, after, found := bytes.Cut(text, []byte(`"state":`))
		if !found {
			return false
		}
		text = bytes.TrimLeft(after, " ")
		digits := len(text) - len(bytes.TrimLeft(text, "0123456789"))
		if state, err := strconv.Atoi(string(text[:digits])); err == nil && spec.ServiceState(state).Waiting() {
			return true
		}
	}
}

// readRecord is for how long a record may take to be read; then the document is shown as
// oned has it.
const readRecord = time.Second

// bringUp gives a service's document what was decided since it was written.
func (a ahead) bringUp(ctx context.Context, document *opennebula.Document) {
	if document.Type != spec.DocumentTypeService || !a.queue.State().Connected {
		return
	}
	limited, cancel := context.WithTimeout(ctx, readRecord)
	defer cancel()
	record, revision, err := a.queue.LoadRecord(limited, document.ID)
	if err != nil || revision == 0 || record.Deleted {
		return
	}
	ours := func(digest string) bool { return digest == record.Saved || slices.Contains(record.Digests, digest) }
	if !ours(spec.DigestOf(document.Body)) {
		written, repairs, err := spec.ReadService(document.Body)
		if err != nil || !ours(spec.FoundDigest(document.Body, written, repairs)) {
			return // somebody else has changed it
		}
	}
	decided, err := record.State.Service.Body.Opened(a.box.Open)
	if err != nil {
		return
	}
	if text, err := decided.Text(); err == nil {
		document.Body = text
	}
}
