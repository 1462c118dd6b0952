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
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

const (
	// keyedTimeout bounds a request with a key.
	keyedTimeout = 30 * time.Second
	maxKey       = 255
	// maxKeptBody is the largest answer that is kept, for a day: a short request may have a
	// long one. A larger one is made anew.
	maxKeptBody = 16 << 10
	// madeBy is the attribute by which what a request with a key has made is
	// found again.
	madeBy = spec.CommandAttribute
	// ownOnly is the pool filter for the caller's own documents.
	ownOnly = -3
)

// keyed is a request that carries an Idempotency-Key.
type keyed struct {
	// command is the id of the command that it leads to.
	command string
	// again is true if another attempt has not finished: what it made has to be
	// looked for.
	again bool
	// began is when the first attempt was.
	began time.Time
	// lease is the right to carry the request out.
	lease *keyLease
}

// repeated reports whether an earlier attempt may have done a part of the request.
func (k *keyed) repeated() bool { return k != nil && k.again }

// idempotency has requests with an Idempotency-Key act once.
type idempotency struct {
	*reservations
	// box seals the answers that are kept.
	box *seal.Box
	now func() time.Time
}

// once serves a request. One with an Idempotency-Key acts once, whichever API it comes
// to and however often; all get the first one's answer, for 24 hours.
//
// The key is reserved before anything is done, with the id of the command that
// the request will lead to. What a request makes carries that id. So an API
// that finds a reservation without a live holder can go on from where it stopped.
// Refusals are answers; failures that may pass are not, and free the key.
func (s *idempotency) once(ctx context.Context, r *request, serve endpoint) (answer, error) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" || r.Method == http.MethodGet || r.dryRun() {
		return serve(ctx, r)
	}
	digest, err := digestOf(r, key)
	if err != nil {
		return answer{}, err
	}
	// A client that goes away must not stop what it will ask for again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyedTimeout)
	defer cancel()
	name := keyName(r.caller, key)
	held, revision, err := s.take(ctx, r, name, digest)
	if err != nil {
		return answer{}, err
	}
	if held.Answer != nil {
		return s.replayed(held.Answer)
	}
	r.keyed.lease = s.hold(name, held, revision, cancel)
	reply, err := s.carryOut(ctx, r, serve)
	revision, superseded := r.keyed.lease.end()
	if superseded {
		return answer{}, errKeyBusy
	}
	// Without an answer to keep the key is free again. It is sealed: documents are in it,
	// with what users have put into them.
	if held.Answer = kept(reply, err); held.Answer != nil && len(held.Answer.Body) > 0 {
		held.Answer.Body = []byte(s.box.Seal(held.Answer.Body))
	}
	s.release(ctx, name, held, revision)
	return reply, err
}

// keyName hides the key, which is the client's, and keeps users apart.
func keyName(who caller, key string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", who.Identity.UID, key))
	return "key-" + hex.EncodeToString(sum[:])
}

// digestOf returns a hash of all that makes up a request.
func digestOf(r *request, key string) (string, error) {
	if len(key) > maxKey || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", badRequest("Idempotency-Key must be 1 to %d printable ASCII characters without spaces", maxKey)
	}
	text, err := r.body()
	if err != nil {
		return "", err
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %q\n%s", r.Method, r.URL.RequestURI(), r.Header.Values("If-Match"), text))
	return hex.EncodeToString(sum[:]), nil
}

// take makes the request this process's to carry out, or finds its answer.
func (s *idempotency) take(ctx context.Context, r *request, name, digest string) (pipeline.Reservation, uint64, error) {
	mine := pipeline.Reservation{Command: rand.Text(), Request: digest, Taken: time.Now().UTC(), Began: s.now().UTC()}
	held, revision, err := s.queue.Reserve(ctx, name, mine)
	if err != nil {
		return held, 0, &queueError{err}
	}
	if held.Request != digest {
		return pipeline.Reservation{}, 0, &statusError{http.StatusUnprocessableEntity, "this Idempotency-Key was used for another request; use a new key for each request"}
	}
	if held.Command == mine.Command {
		r.keyed = &keyed{command: held.Command, began: held.Began}
		return held, revision, nil
	}
	held, revision, err = s.takeOver(ctx, name, held, revision, nil, errKeyBusy)
	r.keyed = &keyed{command: held.Command, again: true, began: held.Began}
	return held, revision, err
}

// errKeyBusy asks to come again for the answer of another request with the same key.
var errKeyBusy = &busyError{http.StatusConflict, time.Second, "the first request with this Idempotency-Key is still in progress; try again"}

func asQueueError(err error) error {
	if err == nil {
		return nil
	}
	return &queueError{err}
}

// carryOut serves a request, unless its command has been carried out already:
// then what it was for may be gone, and only its reply is left.
func (s *idempotency) carryOut(ctx context.Context, r *request, serve endpoint) (answer, error) {
	if !r.keyed.again {
		return serve(ctx, r)
	}
	result, verb, ended, err := s.queue.CommandReply(ctx, r.keyed.command)
	if err != nil && !errors.Is(err, pipeline.ErrNotFound) {
		return answer{}, &queueError{err}
	}
	if ended && verb != flow.VerbDeploy {
		return outcome(r, verb, result)
	}
	reply, err := serve(ctx, r)
	if err != nil && r.Method == http.MethodDelete && statusOf(err) == http.StatusNotFound {
		return done, nil // the first attempt got that far
	}
	return reply, err
}

// kept is the answer to be given from now on; nil if the request may come
// again and act.
func kept(reply answer, err error) *pipeline.KeptAnswer {
	if err != nil {
		status := statusOf(err)
		if opennebula.Temporary(err) || status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
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
			return answer{}, &statusError{http.StatusConflict, "the request was executed, but its answer can no longer be read: the server user's password was changed since"}
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
	if err := k.lease.confirm(ctx); err != nil {
		return 0, err
	}
	return oned.AllocateDocument(ctx, documentType, name, encodeBody(body))
}

// made finds the document that an earlier attempt has made.
func (k *keyed) made(ctx context.Context, oned session, documentType int) (id int, found bool, err error) {
	if !k.repeated() {
		return 0, false, nil
	}
	documents, err := oned.Documents(ctx, documentType, ownOnly, -1, -1)
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
		if json.Unmarshal(document.Body, &mark) == nil && mark.Command == k.command {
			return document.ID, true, nil
		}
	}
	return 0, false, nil
}
