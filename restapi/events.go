package restapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline/history"
)

const (
	// eventPatience is how long a client may take to receive an event.
	eventPatience = 20 * time.Second
	// rightsTTL is how long a right to see a service is remembered.
	rightsTTL = 5 * time.Second
	// maxRights bounds how many services' rights a stream remembers.
	maxRights = 10_000
)

type events struct {
	*dispatcher
	queue queue
	// recheckAfter is the age at which a client's credentials are checked again, aliveEvery the time between the comments that keep a
	// quiet stream open.
	recheckAfter, aliveEvery time.Duration
	// stopping ends all streams.
	stopping context.Context
}

type follower struct {
	*events
	*request
	out   http.ResponseWriter
	flush *http.ResponseController
	// rights are the services that the caller may or may not see.
	rights  map[int]right
	forever bool // whether to wait for further events
	// recheck is when the caller's credentials are to be checked again.
	recheck time.Time
}

type right struct {
	granted bool
	until   time.Time
}

// stream sends changes of the services that the caller may USE as server-sent events: ?service=N for one service,
// ?since=SEQ or Last-Event-ID for the events after that one; else from now on. With follow=false it ends with the last event
// that there is now. An event's id is its sequence in the stream FLOW.
func (e *events) stream(w http.ResponseWriter, r *http.Request) error {
	asked, err := e.identify(r)
	if err != nil {
		return err
	}
	release, ok := e.admission.streams.acquire(asked.caller.Identity.UID, 1)
	if !ok {
		return busy(http.StatusTooManyRequests, 5*time.Second,
			"too many clients follow events: the maximum is %d, and %d of one user", e.admission.limits.streams, e.admission.limits.streamsOfUser)
	}
	defer release()
	f := &follower{events: e, request: asked, out: w, flush: http.NewResponseController(w), rights: map[int]right{}, recheck: time.Now().Add(e.recheckAfter)}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	service, after, err := f.from(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(e.stopping, cancel)()
	reader, err := e.queue.ReadTransitions(ctx, service, after)
	if err != nil {
		return &queueError{err}
	}
	defer reader.Stop()
	// The server's limits are for requests that end.
	_ = f.flush.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if f.write([]byte(": what happens to services\n\n")) == nil {
		f.send(ctx, reader)
		_ = f.flush.SetWriteDeadline(time.Now().Add(eventPatience)) // for the end of the answer: the last event's has passed where NATS did not answer
	}
	return nil
}

func (f *follower) from(ctx context.Context) (service int, after uint64, err error) {
	query := f.URL.Query()
	service = -1
	if text := query.Get("service"); text != "" {
		id, err := strconv.ParseInt(text, 10, 32)
		if err != nil || id < 0 {
			return 0, 0, badRequest("service must be the id of a service")
		}
		service = int(id)
		if !f.mayUse(ctx, service) {
			if _, err := f.read(ctx, spec.DocumentTypeService, service); err != nil {
				return 0, 0, err
			}
		}
	}
	after = math.MaxUint64
	if text := cmp.Or(f.Header.Get("Last-Event-ID"), query.Get("since")); text != "" {
		if after, err = strconv.ParseUint(text, 10, 63); err != nil {
			return 0, 0, badRequest("since, and Last-Event-ID, must be the id of an event, or 0")
		}
	}
	var known bool
	if f.forever, known = readFlag(cmp.Or(query.Get("follow"), "true")); !known {
		return 0, 0, badRequest("follow must be true or false")
	}
	last, err := f.queue.LastTransitionSequence(ctx)
	return service, min(after, last), asQueueError(err) // a history that damage has cut off ends before what the client has seen
}

func (f *follower) send(ctx context.Context, reader *history.Reader) {
	for alive := time.Now(); f.forever || reader.Pending > 0; {
		quiet, cancel := context.WithDeadline(ctx, alive.Add(f.aliveEvery))
		sequence, transition, err := reader.Next(quiet)
		cancel()
		silent := err != nil
		if silent { // as is a NATS server that is cut off from the others, and keeps its connections
			asking, cancel := context.WithTimeout(ctx, replyWait)
			_, err = f.queue.LastTransitionSequence(asking)
			cancel()
		}
		switch {
		case err != nil || !f.vouched():
			return
		case silent:
			err = f.write([]byte(": alive\n\n"))
		case f.mayUse(ctx, transition.Service):
			data, _ := json.Marshal(transition) // plain values
			err = f.write(fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", sequence, transition.Kind, data))
		default:
			continue
		}
		if err != nil {
			return
		}
		alive = time.Now()
	}
}

// mayUse reports whether the caller may see a service: oned's answer to one.document.info is the right to USE. A deleted
// service stays visible to a client that saw it before, and to its owner, whom its record names.
func (f *follower) mayUse(ctx context.Context, service int) bool {
	if f.caller.isAdmin() {
		return true
	}
	known := f.rights[service]
	if time.Now().Before(known.until) {
		return known.granted
	}
	_, err := f.read(ctx, spec.DocumentTypeService, service)
	granted := err == nil
	if err != nil && statusOf(err, f.own) == http.StatusNotFound {
		if granted = known.granted; !granted {
			record, _, err := f.queue.LoadRecord(ctx, service)
			last := record.State.Service
			granted = err == nil && record.Deleted && last.ID == service && last.Owner.UID == f.caller.Identity.UID
		}
	}
	makeRoom(f.rights, maxRights)
	f.rights[service] = right{granted, time.Now().Add(rightsTTL)}
	return granted
}

// vouched reports whether the caller's credentials are still accepted: a stream may last for weeks, and a changed password
// must end it.
func (f *follower) vouched() bool {
	now := time.Now()
	if now.Before(f.recheck) {
		return true
	}
	who, err := f.authenticator.caller(f.Request)
	if err == nil {
		f.caller, f.recheck = who, now.Add(f.recheckAfter)
	}
	return !errors.Is(err, errBadCredentials)
}

func (f *follower) write(text []byte) error {
	_ = f.flush.SetWriteDeadline(time.Now().Add(eventPatience))
	if _, err := f.out.Write(text); err != nil {
		return err
	}
	return f.flush.Flush()
}
