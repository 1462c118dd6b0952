package restapi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/flowjet/flowjet/restapi/internal/limit"
)

// admission bounds what users ask for at once and in a second.
type admission struct {
	limits   Limits
	throttle *limit.Throttle
	// working, receiving and streams are the slots of requests that are worked on, of
	// bodies that are received, and of clients that follow events.
	working, receiving, streams *limit.Slots
}

func newAdmission(limits Limits) *admission {
	return &admission{
		limits: limits, throttle: limit.NewThrottle(limits.Verdicts),
		working: limit.NewSlots(limits.Requests, 0), receiving: limit.NewSlots(limits.Receiving, 0),
		streams: limit.NewSlots(limits.Streams, limits.StreamsOfUser),
	}
}

// rate takes one request from what the user may send a second.
func (a *admission) rate(who caller, method string) error {
	key := limit.Key{UID: who.Identity.UID, Changes: method != http.MethodGet}
	rate := a.limits.Reads
	if key.Changes {
		rate = a.limits.Changes
	}
	if wait, ok := a.throttle.Take(key, 1, rate, 2*rate); !ok {
		return &busyError{http.StatusTooManyRequests, wait, fmt.Sprintf("more than %g requests of this kind a second; try again in a moment", rate)}
	}
	return nil
}

// admit gives a request a slot among those that are worked on. Its body is read before,
// in a slot of another kind: a client that sends slowly holds up nobody but the same user.
func (a *admission) admit(w http.ResponseWriter, r *http.Request, uid int) (release func(), err error) {
	if err := a.receive(w, r, uid); err != nil {
		return nil, err
	}
	release, ok := a.working.Take(uid)
	if !ok {
		return nil, &busyError{http.StatusServiceUnavailable, time.Second, "too many requests are in progress, of this user or of all users; try again"}
	}
	return release, nil
}

// receive reads a request's body into memory, within the limit of a body and of what the
// user may send: commands are kept in NATS for days, and answers for one.
func (a *admission) receive(w http.ResponseWriter, r *http.Request, uid int) error {
	if r.ContentLength == 0 {
		return nil
	}
	release, ok := a.receiving.Take(uid)
	if !ok {
		return &busyError{http.StatusServiceUnavailable, time.Second, "too many requests are being received, of this user or of all users; try again"}
	}
	defer release()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.limits.Body))
	r.Body = &received{Reader: bytes.NewReader(body), err: err}
	wait, ok := a.throttle.Take(limit.Key{UID: uid, Bytes: true}, float64(len(body)), float64(a.limits.Bytes), float64(a.limits.BytesAtOnce))
	if !ok {
		return &busyError{http.StatusTooManyRequests, wait, fmt.Sprintf("more than %d bytes a second of changes, and %d at once; try again in a moment", a.limits.Bytes, a.limits.BytesAtOnce)}
	}
	return nil
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
