package restapi

import (
	"context"
	"slices"
	"sync"
)

// mostWrites bounds the documents of which it is remembered that they were written.
const mostWrites = 1000

// writes hands out sessions, and remembers which documents were written in them lately.
type writes struct {
	sessions

	mu sync.Mutex
	// first is how many are forgotten already.
	first int
	ids   []int
}

func (w *writes) add(id int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ids) == mostWrites {
		w.ids = slices.Clone(w.ids[mostWrites/2:])
		w.first += mostWrites / 2
	}
	w.ids = append(w.ids, id)
}

// position is how many there were so far.
func (w *writes) position() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first + len(w.ids)
}

// since returns what was written behind a position; false where that is no longer known.
func (w *writes) since(position int) (ids []int, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if position < w.first {
		return nil, false
	}
	return slices.Clone(w.ids[position-w.first:]), true
}

func (w *writes) as(user string) session { return writingSession{w.sessions.as(user), w} }

// writingSession notes what is written. What fails may have been done all the same.
type writingSession struct {
	session
	writes *writes
}

func (s writingSession) AllocateDocument(ctx context.Context, documentType int, name string, body []byte) (int, error) {
	id, err := s.session.AllocateDocument(ctx, documentType, name, body)
	if err == nil {
		s.writes.add(id)
	}
	return id, err
}

func (s writingSession) UpdateDocument(ctx context.Context, id int, body []byte) error {
	defer s.writes.add(id)
	return s.session.UpdateDocument(ctx, id, body)
}

func (s writingSession) DeleteDocument(ctx context.Context, id int) error {
	defer s.writes.add(id)
	return s.session.DeleteDocument(ctx, id)
}

func (s writingSession) RenameDocument(ctx context.Context, id int, name string) error {
	defer s.writes.add(id)
	return s.session.RenameDocument(ctx, id, name)
}

func (s writingSession) ChownDocument(ctx context.Context, id, uid, gid int) error {
	defer s.writes.add(id)
	return s.session.ChownDocument(ctx, id, uid, gid)
}

func (s writingSession) ChmodDocument(ctx context.Context, id int, octet string) error {
	defer s.writes.add(id)
	return s.session.ChmodDocument(ctx, id, octet)
}
