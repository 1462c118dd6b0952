package restapi

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline/changes"
)

const (
	// listLife is how long a list is kept. It bounds for how long a document is still shown that oned would not show any
	// more, where no event reported the change: a publisher of events may drop some, and a oned of another zone changes
	// users without an event. oned itself reads the rules of a federation anew that often (MANAGER_TIMER).
	listLife = 15 * time.Second
	// maxKeptBytes bounds the texts that are kept, maxKeptLists the lists.
	maxKeptBytes = 64 << 20
	maxKeptLists = 500
	// mostChanges bounds the changes that are read for a list, and mostRefreshed the documents that are read one by one:
	// beyond that, oned's list costs less.
	mostChanges, mostRefreshed = 100, 10
	refreshedAtOnce            = 4
)

// lists keeps oned's lists of documents for users, as long as bridges hear every call that could change them: documents
// that changed since are read anew. Who may see a document is oned's decision alone: each user's list is oned's answer to
// that user.
type lists struct {
	oned sessions
	// own are this API's own writes, which its next answer has to include.
	own     writes
	queue   queue
	hearing func() string

	mu   sync.Mutex
	kept map[listKey]*list
}

type listKey struct {
	user         string
	documentType int
}

type list struct {
	// lock is held by the request that reads or replaces the list.
	lock chan struct{}
	size int // the bytes that it takes
	listed
}

type listed struct {
	// asked is when oned listed it, heard the connection on which bridges heard calls; the list is up to date up to point
	// and wrote.
	asked time.Time
	heard string
	point changes.Point
	wrote int
	// documents and decided are replaced, never changed: other requests may be reading them. decided are services whose
	// records have changed since oned listed them.
	documents []opennebula.Document
	decided   map[int]bool
}

// documents lists all documents of a type that a user may see. Those of services in decided may be behind their records.
func (l *lists) documents(ctx context.Context, key listKey) (found []opennebula.Document, decided map[int]bool, err error) {
	if heard := l.hearing(); heard != "" && l.queue.State().Connected && ctx.Value(uncached{}) == nil {
		kept := l.of(key)
		select {
		case kept.lock <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		found, decided, err = l.keep(ctx, key, kept, heard)
		if !errors.Is(err, errNotKept) {
			return found, decided, err
		}
	}
	found, err = l.oned.as(key.user, opennebula.Guard{}).Documents(ctx, key.documentType, allVisible)
	return found, nil, err
}

// uncached is in the context of requests that ask for what oned lists now.
type uncached struct{}

// errNotKept is returned when oned has to be asked as if nothing was kept: NATS does not answer, or it is not certain which
// server leads the zone.
var errNotKept = errors.New("lists are not kept now")

func (l *lists) of(key listKey) *list {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept[key] == nil {
		if len(l.kept) >= maxKeptLists {
			clear(l.kept)
		}
		l.kept[key] = &list{lock: make(chan struct{}, 1)}
	}
	return l.kept[key]
}

// keep brings a list up to date, or replaces it, and releases its lock.
func (l *lists) keep(ctx context.Context, key listKey, kept *list, heard string) ([]opennebula.Document, map[int]bool, error) {
	defer func() { <-kept.lock }()
	wrote := l.own.position()
	limited, cancel := context.WithTimeout(ctx, recordPatience)
	defer cancel()
	point, err := l.queue.LastChange(limited)
	if err != nil {
		return nil, nil, errNotKept
	}
	oned := l.oned.confirmed(key.user)
	if kept.heard == heard && time.Since(kept.asked) < listLife && l.follow(limited, oned, key.documentType, &kept.listed, point) {
		kept.point, kept.wrote = point, wrote
		l.admit(key, kept, sizeOfAll(kept.documents))
		return kept.documents, kept.decided, nil
	}
	asked := time.Now()
	documents, err := oned.Documents(ctx, key.documentType, allVisible)
	switch {
	case errors.Is(err, opennebula.ErrUnconfirmed):
		return nil, nil, errNotKept
	case err != nil:
		return nil, nil, err
	}
	if kept.listed = (listed{}); l.admit(key, kept, sizeOfAll(documents)) {
		kept.listed = listed{asked: asked, heard: heard, point: point, wrote: wrote, documents: documents}
	}
	return documents, nil, nil
}

func sizeOfAll(documents []opennebula.Document) (size int) {
	for i := range documents {
		size += len(documents[i].Body) + documentFrame
	}
	return size
}

// admit makes room for a list of so many bytes, and reports whether it succeeded.
func (l *lists) admit(key listKey, kept *list, size int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.kept, key)
	if size > maxKeptBytes {
		return false
	}
	kept.size = size
	for _, other := range l.kept {
		size += other.size
	}
	if size > maxKeptBytes {
		clear(l.kept)
	}
	l.kept[key] = kept
	return true
}

// follow applies the changes up to a point to a list, and reports whether it could: not where anything may have changed, or
// so much that oned's list costs less.
func (l *lists) follow(ctx context.Context, oned session, documentType int, kept *listed, point changes.Point) bool {
	changed, known, err := l.queue.ChangedBetween(ctx, kept.point, point, mostChanges)
	own, complete := l.own.since(kept.wrote)
	if err != nil || !known || !complete {
		return false
	}
	isListed := make(map[int]bool, len(kept.documents))
	if len(changed.Written)+len(changed.Decided) > 0 {
		for i := range kept.documents {
			isListed[kept.documents[i].ID] = true
		}
	}
	others := func(id int) bool { return !isListed[id] }
	read := slices.Concat(slices.DeleteFunc(changed.Written, others), changed.Granted, own)
	slices.Sort(read)
	if read = slices.Compact(read); len(read) > mostRefreshed || !kept.refresh(ctx, oned, documentType, read) {
		return false
	}
	if decided := slices.DeleteFunc(changed.Decided, others); len(decided) > 0 {
		all := maps.Clone(kept.decided)
		if all == nil {
			all = map[int]bool{}
		}
		for _, id := range decided {
			all[id] = true
		}
		kept.decided = all
	}
	return len(kept.decided) <= mostChanges
}

// refresh reads some documents as the list's user, and reports whether the list is as oned would list them now.
func (k *listed) refresh(ctx context.Context, oned session, documentType int, ids []int) bool {
	if len(ids) == 0 {
		return true
	}
	var reads errgroup.Group
	reads.SetLimit(refreshedAtOnce)
	found, failures := make([]opennebula.Document, len(ids)), make([]error, len(ids))
	for i, id := range ids {
		reads.Go(func() error { found[i], failures[i] = oned.Document(ctx, id); return nil })
	}
	_ = reads.Wait() // each has its own error
	documents := slices.Clone(k.documents)
	for i, id := range ids {
		at := slices.IndexFunc(documents, func(d opennebula.Document) bool { return d.ID == id })
		switch err := failures[i]; {
		case err == nil && found[i].Type != documentType:
		case err == nil && at >= 0:
			documents[at] = found[i]
		case err == nil:
			if len(documents) < 2 {
				return false // oned's order of them is not known
			}
			documents = slices.Insert(documents, indexOf(documents, id), found[i])
		case opennebula.IsCode(err, opennebula.CodeNoExists) && at >= 0:
			documents = slices.Delete(documents, at, at+1)
		case opennebula.IsCode(err, opennebula.CodeNoExists), opennebula.IsCode(err, opennebula.CodeAuthorization) && at < 0:
		default:
			return false
		}
	}
	k.documents = documents
	return true
}

// indexOf returns the index of a new document in a list, which is in ascending or descending order of ids.
func indexOf(documents []opennebula.Document, id int) int {
	descending := documents[0].ID > documents[1].ID
	at := slices.IndexFunc(documents, func(d opennebula.Document) bool { return (d.ID < id) == descending })
	if at < 0 {
		return len(documents)
	}
	return at
}
