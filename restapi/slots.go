package restapi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// slots are so many places, shared fairly among users: of n users that have some, none gets
// more than an (n+1)th part, so that there is room for another one.
type slots struct {
	most int
	// mostOfUser bounds a user's places however few others there are; 0 is no bound.
	mostOfUser int

	mu     sync.Mutex
	taken  int
	byUser map[int]int
}

func newSlots(most, mostOfUser int) *slots {
	return &slots{most: most, mostOfUser: mostOfUser, byUser: map[int]int{}}
}

// take gives the user a place until release is called; ok reports whether there was one
// for him.
func (s *slots) take(uid int) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	users, own := len(s.byUser), s.byUser[uid]
	if own == 0 {
		users++
	}
	share := max(1, s.most/(users+1))
	if s.mostOfUser > 0 {
		share = min(share, s.mostOfUser)
	}
	if s.taken >= s.most || own >= share {
		return nil, false
	}
	s.taken++
	s.byUser[uid]++
	return sync.OnceFunc(func() { s.release(uid) }), true
}

func (s *slots) release(uid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.byUser[uid]--; s.byUser[uid] == 0 {
		delete(s.byUser, uid)
	}
}

// admit gives a request its place among those that are worked on. Its body is read before,
// in a place of another kind: a client that sends slowly holds up nobody but the same user.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, uid int) (release func(), err error) {
	if err := s.receive(w, r, uid); err != nil {
		return nil, err
	}
	release, ok := s.working.take(uid)
	if !ok {
		return nil, &busyError{http.StatusServiceUnavailable, time.Second, "too many requests are being worked on already, of yours or of all users; try again"}
	}
	return release, nil
}

// receive reads a request's body into memory, within the limit.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, uid int) error {
	if r.ContentLength == 0 {
		return nil
	}
	release, ok := s.receiving.take(uid)
	if !ok {
		return &busyError{http.StatusServiceUnavailable, time.Second, "too many requests are being received already, of yours or of all users; try again"}
	}
	defer release()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.Limits.Body))
	r.Body = &received{Reader: bytes.NewReader(body), err: err}
	return nil
}

// received is a body that was read. What went wrong is told to whoever reads it.
type received struct {
	*bytes.Reader
	err error
}

// Read returns what was received, and then the error that ended it, if any.
func (b *received) Read(into []byte) (int, error) {
	n, err := b.Reader.Read(into)
	if err == io.EOF && b.err != nil {
		err = b.err
	}
	return n, err
}

// Close does nothing.
func (b *received) Close() error { return nil }

// admitFollower gives a client its place among those that follow events.
func (s *Server) admitFollower(uid int) (release func(), err error) {
	release, ok := s.streams.take(uid)
	if !ok {
		return nil, &busyError{http.StatusTooManyRequests, 5 * time.Second,
			fmt.Sprintf("too many clients follow events already: at most %d do, and %d of one user", s.streams.most, s.streams.mostOfUser)}
	}
	return release, nil
}
