package restapi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// admission bounds what users ask for at once and in a second.
type admission struct {
	throttle *throttle
	rates    atomic.Pointer[rates]
	// working, receiving and streams are the slots of requests that are worked on, of
	// bodies that are received, and of clients that follow events.
	working, receiving, streams *slots
	maxBody                     int64
}

// rates are requests a second and user.
type rates struct{ reads, changes float64 }

func newAdmission(limits Limits) *admission {
	a := &admission{
		throttle: newThrottle(limits.Verdicts), maxBody: limits.Body,
		working: newSlots(limits.Requests, 0), receiving: newSlots(limits.Receiving, 0),
		streams: newSlots(limits.Streams, limits.StreamsOfUser),
	}
	a.rates.Store(&rates{limits.Reads, limits.Changes})
	return a
}

// rate takes one request from what the user may send a second.
func (a *admission) rate(who caller, method string) error {
	key := bucketKey{who.Identity.UID, method != http.MethodGet}
	rates := a.rates.Load()
	if key.changes {
		return a.throttle.admit(key, rates.changes)
	}
	return a.throttle.admit(key, rates.reads)
}

// admit gives a request a slot among those that are worked on. Its body is read before,
// in a slot of another kind: a client that sends slowly holds up nobody but the same user.
func (a *admission) admit(w http.ResponseWriter, r *http.Request, uid int) (release func(), err error) {
	if err := a.receive(w, r, uid); err != nil {
		return nil, err
	}
	release, ok := a.working.take(uid)
	if !ok {
		return nil, &busyError{http.StatusServiceUnavailable, time.Second, "too many requests are being worked on already, of yours or of all users; try again"}
	}
	return release, nil
}

// receive reads a request's body into memory, within the limit.
func (a *admission) receive(w http.ResponseWriter, r *http.Request, uid int) error {
	if r.ContentLength == 0 {
		return nil
	}
	release, ok := a.receiving.take(uid)
	if !ok {
		return &busyError{http.StatusServiceUnavailable, time.Second, "too many requests are being received already, of yours or of all users; try again"}
	}
	defer release()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.maxBody))
	r.Body = &received{Reader: bytes.NewReader(body), err: err}
	return nil
}

// admitFollower gives a client a slot among those that follow events.
func (a *admission) admitFollower(uid int) (release func(), err error) {
	release, ok := a.streams.take(uid)
	if !ok {
		return nil, &busyError{http.StatusTooManyRequests, 5 * time.Second,
			fmt.Sprintf("too many clients follow events already: at most %d do, and %d of one user", a.streams.most, a.streams.mostOfUser)}
	}
	return release, nil
}

// received is a body that was read. Its reader gets the error that ended it.
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
