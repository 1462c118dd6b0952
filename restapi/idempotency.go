package restapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

const (
	// keyedTimeout bounds a request with a key.
	keyedTimeout = 30 * time.Second
	maxKey       = 255
	// maxKeptBody is the largest answer that is kept, for a day: a short request may have a long answer. Larger ones are made anew.
	maxKeptBody = 16 << 10
	// madeBy is the attribute that identifies the objects which a request with a key has made.
	madeBy = spec.CommandAttribute
	// ownOnly is the pool filter for the caller's own documents.
	ownOnly = -3
)

// keyed is a request that carries an Idempotency-Key.
type keyed struct {
	// command is the id of the command that it leads to.
	command string
	// again is true if another attempt has not finished: then the objects that it made are searched for.
	again bool
	// began is when the first attempt was.
	began time.Time
	// lease is the right to carry the request out.
	lease *keyLease
}

// repeated reports whether an earlier attempt may have done a part of the request.
func (k *keyed) repeated() bool { return k != nil && k.again }

type idempotency struct {
	*reservations
	// box seals the answers that are kept.
	box *seal.Box
	now func() time.Time
}

// once serves a request. A request with an Idempotency-Key acts once, whichever API receives it and however often; all
// attempts get the first one's answer, for 24 hours.
//
// The key is reserved before anything is done, with the id of the command that the request will lead to. The objects that a
// request makes carry that id. So an API that finds a reservation without a live holder can resume the request. Refusals
// are stored as answers; failures that may pass are not, and free the key.
func (s *idempotency) once(ctx context.Context, r *request, serve endpoint) (answer, error) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" || r.Method == http.MethodGet || r.dryRun {
		return serve(ctx, r)
	}
	digest, err := digestOf(r, key)
	if err != nil {
		return answer{}, err
	}
	// A client that disconnects must not stop the work: it will ask for the result again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyedTimeout)
	defer cancel()
	name := keyName(r.caller, key)
	mine := pipeline.Reservation{Command: rand.Text(), Request: digest, Taken: time.Now().UTC(), Began: s.now().UTC()}
	held, revision, err := s.acquire(ctx, name, mine, errKeyBusy)
	if err != nil {
		return answer{}, err
	}
	if held.Answer != nil {
		return s.replayed(held.Answer)
	}
	lease := s.hold(name, held, revision, cancel)
	r.keyed = &keyed{command: held.Command, again: held.Command != mine.Command, began: held.Began, lease: lease}
	reply, err := s.carryOut(ctx, r, serve)
	// Without an answer to keep the key is free again. The answer is sealed: it holds documents, with secrets that users may have put into them.
	keep := kept(r, reply, err)
	if keep != nil && len(keep.Body) > 0 {
		if _, ok := r.admission.charge(r.caller.Identity.UID, len(keep.Body)); !ok {
			keep = nil // it is made anew, as a long one
		}
	}
	if keep != nil && len(keep.Body) > 0 {
		keep.Body = []byte(s.box.Seal(keep.Body))
	}
	if superseded := lease.end(ctx, keep); superseded {
		return answer{}, errKeyBusy
	}
	return reply, err
}

// keyName hides the key, which is the client's, and keeps users apart.
func keyName(who caller, key string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", who.Identity.UID, key))
	return "key-" + hex.EncodeToString(sum[:])
}

func digestOf(r *request, key string) (string, error) {
	if len(key) > maxKey || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", badRequest("Idempotency-Key must be 1 to %d printable ASCII characters without spaces", maxKey)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %q\n%s", r.Method, r.URL.RequestURI(), r.Header.Values(ifMatch), r.text))
	return hex.EncodeToString(sum[:]), nil
}

// errKeyBusy is returned while another request with the same key is in progress.
var errKeyBusy = busy(http.StatusConflict, time.Second, "the first request with this Idempotency-Key is still in progress; try again")

// carryOut serves a request, unless its command has been carried out already: then the service may be gone, and only the reply is left.
func (s *idempotency) carryOut(ctx context.Context, r *request, serve endpoint) (answer, error) {
	if !r.keyed.again {
		return serve(ctx, r)
	}
	result, verb, ended, err := s.queue.CommandReply(ctx, r.keyed.command)
	if err != nil && !errors.Is(err, pipeline.ErrNotFound) {
		return answer{}, &queueError{err}
	}
	if ended && verb != flow.VerbDeploy {
		return outcome(verb, result)
	}
	reply, err := serve(ctx, r)
	if err != nil && r.Method == http.MethodDelete && statusOf(err, r.own) == http.StatusNotFound {
		return done, nil // the first attempt got that far
	}
	return reply, err
}

// kept returns the answer to be given from now on, or nil if the request may be sent again and act.
func kept(r *request, reply answer, err error) *pipeline.KeptAnswer {
	if err != nil {
		status := statusOf(err, r.own)
		// The user was authenticated before: oned refuses the session in which Flowjet acts for the user, which passes.
		passes := opennebula.Temporary(err) || opennebula.IsCode(err, opennebula.CodeAuthentication)
		if passes || status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
			return nil
		}
		return &pipeline.KeptAnswer{Status: status, Body: []byte(err.Error())}
	}
	if reply.status == http.StatusAccepted || len(reply.body) > maxKeptBody {
		return nil
	}
	return &pipeline.KeptAnswer{Status: reply.status, ContentType: reply.contentType, Location: reply.location, Body: reply.body}
}

func (s *idempotency) replayed(kept *pipeline.KeptAnswer) (answer, error) {
	body := kept.Body
	if bytes.HasPrefix(body, []byte(seal.Prefix)) {
		var err error
		if body, err = s.box.Open(string(body)); err != nil {
			return answer{}, failure(http.StatusConflict, "the request was executed, but its answer can no longer be read: the server user's password was changed since")
		}
	}
	return answer{status: kept.Status, contentType: kept.ContentType, location: kept.Location, body: body, replayed: true}, nil
}

// allocate makes a document in the caller's session, once for a request with a key.
func (k *keyed) allocate(ctx context.Context, oned session, documentType int, name string, body spec.Body) (int, error) {
	if k == nil {
		delete(body.Extra, madeBy)
		return oned.AllocateDocument(ctx, documentType, name, encodeBody(body))
	}
	if id, found, err := k.made(ctx, oned, documentType); found || err != nil {
		return id, err
	}
	if body.Extra == nil {
		body.Extra = map[string]json.RawMessage{}
	}
	body.Extra[madeBy] = json.RawMessage(`"` + k.command + `"`)
	if err := k.lease.confirm(ctx, keyLeaseLength/2); err != nil {
		return 0, err
	}
	id, err := oned.AllocateDocument(ctx, documentType, name, encodeBody(body))
	if err != nil || !k.repeated() {
		return id, err
	}
	// If oned cannot replicate a call, it executes the call later, maybe after the caller has searched for its result.
	first, found, err := k.made(ctx, oned, documentType)
	if err != nil || !found || first == id {
		return id, err
	}
	return first, oned.DeleteDocument(ctx, id)
}

// made returns the oldest document that an attempt has made.
func (k *keyed) made(ctx context.Context, oned session, documentType int) (id int, found bool, err error) {
	if !k.repeated() {
		return 0, false, nil
	}
	documents, err := oned.Documents(ctx, documentType, ownOnly)
	if err != nil {
		return 0, false, fmt.Errorf("look for the result of the first request: %w", err)
	}
	for _, document := range documents {
		if document.Body == nil { // it was left out of a list that is too long
			if document, err = oned.Document(ctx, document.ID); err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
				return 0, false, fmt.Errorf("look for what the first request made: %w", err)
			}
		}
		if !bytes.Contains(document.Body, []byte(k.command)) {
			continue
		}
		var mark struct {
			Command string `json:"flowjet_command"`
		}
		if json.Unmarshal(document.Body, &mark) == nil && mark.Command == k.command && (!found || document.ID < id) {
			id, found = document.ID, true
		}
	}
	return id, found, nil
}

const (
	// keyLeaseLength is how long a reservation has to stay unchanged before another API takes over the request from a dead
	// one. The other API's clock counts it, so that the clocks of two hosts need not agree.
	keyLeaseLength = 3 * time.Second
	// keyRenewal is how often the reservation is renewed while a request is being worked on.
	keyRenewal = 750 * time.Millisecond
	// longDead is the age, by the clocks of both, after which a holder is not waited for.
	longDead = time.Minute
	// keyPoll is how often a waiting request reads the reservation.
	keyPoll = 50 * time.Millisecond
)

// reservations are the entries of a key-value bucket that all APIs share: keys of requests, and locks on documents.
type reservations struct {
	queue queue
	// wait bounds how long a request waits for another one.
	wait   time.Duration
	logger *slog.Logger
}

// acquire reserves a name. While another request holds it, acquire waits for its answer, or until the holder is dead, whose
// reservation it takes over as it is.
func (s *reservations) acquire(ctx context.Context, name string, mine pipeline.Reservation, taken error) (held pipeline.Reservation, revision uint64, err error) {
	held, revision, err = s.queue.Reserve(ctx, name, mine)
	if err != nil {
		return held, 0, &queueError{err}
	}
	if held.Request != mine.Request {
		return held, 0, failure(http.StatusUnprocessableEntity, "this Idempotency-Key was used for another request; use a new key for each request")
	}
	if held.Command == mine.Command {
		return held, revision, nil
	}
	limit, poll := time.After(s.wait), time.Tick(keyPoll)
	var holder watchedHolder
	for held.Answer == nil {
		if holder.dead(held, revision) {
			held.Taken = time.Now().UTC()
			updated, err := s.queue.UpdateReservation(ctx, name, held, revision)
			if !errors.Is(err, pipeline.ErrConflict) {
				return held, updated, asQueueError(err)
			}
		}
		select {
		case <-poll:
		case <-limit:
			return held, 0, taken
		}
		if held, revision, err = s.queue.Reservation(ctx, name); err != nil {
			return held, 0, &queueError{err}
		}
	}
	return held, revision, nil
}

// alone makes a change that goes to oned directly, and not through a worker, safe for requests with If-Match: oned has no compare-and-set on
// documents, so one such request is served at a time, whichever API receives it, and the document is compared with the tag in that time.
func (s *reservations) alone(act documentAction) documentAction {
	return func(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
		tags, err := r.tags(ifMatch)
		if err != nil {
			return answer{}, err
		}
		if len(tags) == 0 || r.dryRun {
			return act(ctx, r, document, params)
		}
		ctx, cancel := context.WithTimeout(ctx, keyedTimeout)
		defer cancel()
		name := fmt.Sprintf("lock-%d", document.ID)
		taken := busy(http.StatusConflict, time.Second, "another request with If-Match is changing %s %d; try again", kindNames[document.Type], document.ID)
		held, revision, err := s.acquire(ctx, name, pipeline.Reservation{Command: rand.Text(), Taken: time.Now().UTC()}, taken)
		if err != nil {
			return answer{}, err
		}
		lease := s.hold(name, held, revision, cancel)
		defer lease.end(ctx, nil)
		if document, err = r.read(ctx, document.Type, document.ID); err != nil {
			return answer{}, err
		}
		if !document.Matches(tags) {
			return answer{}, changed(document)
		}
		return act(ctx, r, document, params)
	}
}

// watchedHolder is the last state of a reservation that a waiting request has read.
type watchedHolder struct {
	revision uint64
	since    time.Time
}

// dead reports whether the reservation's holder has stopped.
func (w *watchedHolder) dead(held pipeline.Reservation, revision uint64) bool {
	if revision != w.revision {
		w.revision, w.since = revision, time.Now()
	}
	return held.Taken.IsZero() || time.Since(w.since) > keyLeaseLength || time.Since(held.Taken) > longDead
}

// keyLease is the right to carry out a request with a key. It is renewed until it ends, and lost to another API if renewals fail for too long.
type keyLease struct {
	*reservations
	name       string
	lost, stop context.CancelFunc
	renewing   sync.WaitGroup

	mu         sync.Mutex
	held       pipeline.Reservation
	revision   uint64
	confirmed  time.Time
	superseded bool
}

// hold renews a reservation until the lease ends; lost is called if another API takes it over.
func (s *reservations) hold(name string, held pipeline.Reservation, revision uint64, lost context.CancelFunc) *keyLease {
	life, stop := context.WithCancel(context.Background())
	l := &keyLease{reservations: s, name: name, lost: lost, stop: stop, held: held, revision: revision, confirmed: time.Now()}
	l.renewing.Go(func() {
		for idle.For(life, keyRenewal) == nil {
			_ = l.confirm(life, 0) // failures are retried
		}
	})
	return l
}

// confirm renews the reservation if the last renewal is older than since. It returns errKeyBusy if another API carries the
// request out. It is also called before anything is made: a process that was suspended finds out here.
func (l *keyLease) confirm(ctx context.Context, since time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.superseded {
		return errKeyBusy
	}
	if time.Since(l.confirmed) < since {
		return nil
	}
	held := l.held
	held.Taken = time.Now().UTC()
	revision, err := l.queue.UpdateReservation(ctx, l.name, held, l.revision)
	switch {
	case errors.Is(err, pipeline.ErrConflict):
		l.superseded = true
		l.lost()
		return errKeyBusy
	case err != nil:
		return asQueueError(err)
	}
	l.held, l.revision, l.confirmed = held, revision, time.Now()
	return nil
}

// end releases the reservation, with the answer that is kept, even if the client has disconnected, unless another API has
// taken it over. If that fails the lease expires.
func (l *keyLease) end(ctx context.Context, kept *pipeline.KeptAnswer) (superseded bool) {
	l.stop()
	l.renewing.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.superseded {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	l.held.Answer, l.held.Taken = kept, time.Time{}
	if _, err := l.queue.UpdateReservation(ctx, l.name, l.held, l.revision); err != nil && !errors.Is(err, pipeline.ErrConflict) {
		l.logger.Warn("a reservation was not released; it is released when its lease expires", "reservation", l.name, "error", err)
	}
	return false
}
