package restapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/opennebula"
)

const (
	// textType is OneFlow's content type, whatever the content.
	textType = "text/html;charset=utf-8"
	jsonType = "application/json"
	// problemType is the content type of errors below ownPrefix (RFC 9457).
	problemType = "application/problem+json"
)

type answer struct {
	status int
	// contentType is jsonType, or textType for what OneFlow answers so.
	contentType string
	location    string
	etag        string
	// replayed reports whether the answer was given before, to a request with the same key.
	replayed bool
	// warning is about a side effect that the client may not have intended.
	warning string
	body    []byte
	cookie  *http.Cookie
	// violations are of the request's body, for a problem.
	violations template.Violations
}

var done = answer{status: http.StatusNoContent}

type problem struct {
	Type       string              `json:"type"`
	Title      string              `json:"title"`
	Status     int                 `json:"status"`
	Detail     string              `json:"detail"`
	Violations template.Violations `json:"violations,omitempty"`
}

// write writes an answer to r. OneFlow's clients expect errors as texts and documents
// as HTML; below ownPrefix both are JSON.
func (a answer) write(w http.ResponseWriter, r *http.Request) {
	if isOwn(r) && a.contentType != jsonType {
		a.contentType = jsonType
		if a.status >= http.StatusBadRequest {
			text, _ := json.Marshal(problem{"about:blank", http.StatusText(a.status), a.status, string(a.body), a.violations}) // plain values
			a.contentType, a.body = problemType, text
		}
	}
	header := w.Header()
	if a.cookie != nil {
		http.SetCookie(w, a.cookie)
	}
	if a.replayed {
		header.Set("Idempotent-Replayed", "true")
	}
	if a.warning != "" {
		header.Set("Warning", "299 flowjet "+strconv.QuoteToASCII(a.warning))
	}
	for name, value := range map[string]string{"Location": a.location, "ETag": a.etag} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		w.WriteHeader(a.status)
		return
	}
	header.Set("Content-Type", cmp.Or(a.contentType, textType))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // an error means that the client has gone
}

func pretty(status int, value any) (answer, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(value)
	return answer{status: status, contentType: jsonType, body: bytes.TrimSpace(text.Bytes())}, err
}

// statusError is an error with its status, which may differ below ownPrefix: OneFlow answers 500 for a conflict, and its
// clients rely on it.
type statusError struct {
	status, own int
	message     string
	// after is when another attempt can succeed; 0 if that is not known.
	after time.Duration
}

func (e *statusError) Error() string { return e.message }

func failure(status int, format string, arguments ...any) *statusError {
	return &statusError{status: status, own: status, message: fmt.Sprintf(format, arguments...)}
}

// ownFailure is a failure that has its status below ownPrefix only: OneFlow answers 500.
func ownFailure(own int, format string, arguments ...any) *statusError {
	return &statusError{status: http.StatusInternalServerError, own: own, message: fmt.Sprintf(format, arguments...)}
}

func busy(status int, after time.Duration, format string, arguments ...any) error {
	return &statusError{status: status, own: status, message: fmt.Sprintf(format, arguments...), after: max(after, time.Second)}
}

func badRequest(format string, arguments ...any) error {
	return failure(http.StatusBadRequest, format, arguments...)
}

func refused(kind flow.RefusalKind, message string) error {
	switch kind {
	case flow.RefusedInput:
		return failure(http.StatusBadRequest, "%s", message)
	case flow.RefusedChanged:
		return failure(http.StatusPreconditionFailed, "%s", message)
	case flow.RefusedMissing:
		return ownFailure(http.StatusNotFound, "%s", message)
	}
	return ownFailure(http.StatusConflict, "%s", message)
}

// queueError is a failure of JetStream to store or return something.
type queueError struct{ error }

// Error adds the likely cause where NATS gave none: a server whose disk is full does not answer.
func (e *queueError) Error() string {
	if errors.Is(e.error, context.DeadlineExceeded) || errors.Is(e.error, jetstream.ErrNoStreamResponse) {
		return fmt.Sprintf("%v: NATS does not answer: most of its servers are down, or their disks are full; repeat the request later", e.error)
	}
	return e.error.Error()
}

func (e *queueError) Unwrap() error { return e.error }

func asQueueError(err error) error {
	if err == nil {
		return nil
	}
	return &queueError{err}
}

// pendingError is returned when a service was created and its command was not stored. Unlike after other failures, a retry
// would create a second service.
type pendingError struct {
	service int
	err     error
}

func (e *pendingError) Error() string {
	return fmt.Sprintf("service %d was created and is PENDING, and will be deployed when a worker finds it, so do not instantiate again: %v", e.service, e.err)
}

func (e *pendingError) Unwrap() error { return e.err }

func fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err, isOwn(r))
	r.Context().Value(recorderKey{}).(*recorder).err = err
	_, pending := errors.AsType[*pendingError](err)
	repeatable := r.Method == http.MethodGet || !pending && !opennebula.Ambiguous(err)
	if status == http.StatusServiceUnavailable && repeatable {
		w.Header().Set("Retry-After", "2")
	}
	if known, is := errors.AsType[*statusError](err); is && known.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(known.after.Seconds()))))
	}
	reply := answer{status: status, body: []byte(err.Error())}
	errors.As(err, &reply.violations)
	reply.write(w, r)
}

// statusOf maps errors to statuses as OneFlow does, or as below ownPrefix. There a missing right is 403, because 401 means
// that credentials are not accepted; OneFlow's clients expect 401.
func statusOf(err error, own bool) int {
	var known *statusError
	var refusal *opennebula.Error
	var transport *opennebula.TransportError
	var queued *queueError
	var wrong template.Violations
	var syntax *template.SyntaxError
	var immutable *template.ImmutableError
	switch {
	case errors.As(err, &known) && own:
		return known.own
	case known != nil:
		return known.status
	case errors.As(err, &wrong), errors.As(err, &syntax), errors.As(err, &immutable):
		return http.StatusBadRequest
	case opennebula.NotBegun(err), opennebula.IsCode(err, opennebula.CodeReplication):
		// The zone has no leader, or oned is unreachable: both pass.
		return http.StatusServiceUnavailable
	case errors.As(err, &refusal):
		switch {
		case refusal.Code == opennebula.CodeAuthentication, refusal.Code == opennebula.CodeAuthorization && own:
			return http.StatusForbidden
		case refusal.Code == opennebula.CodeAuthorization:
			return http.StatusUnauthorized
		case refusal.Code == opennebula.CodeNoExists:
			return http.StatusNotFound
		}
	case errors.As(err, &transport), errors.As(err, &queued), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

const maxListed = 10

// joinedError joins errors on one line: clients show it as it is.
type joinedError []error

// together joins the errors that are not nil.
func together(failures ...error) error {
	failures = slices.DeleteFunc(failures, func(err error) bool { return err == nil })
	if len(failures) == 0 {
		return nil
	}
	return joinedError(failures)
}

func (e joinedError) Error() string {
	var texts []string
	for _, failure := range e[:min(len(e), maxListed)] {
		texts = append(texts, failure.Error())
	}
	if more := len(e) - maxListed; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "; ")
}

func (e joinedError) Unwrap() []error { return e }
