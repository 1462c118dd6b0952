package restapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/opennebula"
)

type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

func badRequest(format string, arguments ...any) error {
	return &statusError{http.StatusBadRequest, fmt.Sprintf(format, arguments...)}
}

// busyError asks the client to come again.
type busyError struct {
	status  int
	after   time.Duration
	message string
}

func (e *busyError) Error() string { return e.message }

// queueError is a failure of JetStream to store or return something.
type queueError struct{ error }

func (e *queueError) Unwrap() error { return e.error }

// pendingError is a service that was made and whose command was not stored.
// Unlike with other failures, trying again would make a second one.
type pendingError struct {
	service int
	err     error
}

func (e *pendingError) Error() string {
	return fmt.Sprintf("service %d was created and is PENDING, and will be deployed when a worker finds it, so do not instantiate again: %v", e.service, e.err)
}

func (e *pendingError) Unwrap() error { return e.err }

func fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	noteOf(r.Context()).err = err
	_, pending := errors.AsType[*pendingError](err)
	repeatable := r.Method == http.MethodGet || !pending && !opennebula.Ambiguous(err)
	if status == http.StatusServiceUnavailable && repeatable {
		w.Header().Set("Retry-After", "2")
	}
	if busy, is := errors.AsType[*busyError](err); is {
		seconds := max(1, int(math.Ceil(busy.after.Seconds())))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	reply := answer{status: status, body: []byte(err.Error())}
	errors.As(err, &reply.violations)
	reply.write(w, r)
}

// statusOf maps errors to statuses as OneFlow does.
func statusOf(err error) int {
	var known *statusError
	var refusal *opennebula.Error
	var transport *opennebula.TransportError
	var queued *queueError
	var busy *busyError
	var wrong template.Violations
	var syntax *template.SyntaxError
	var immutable *template.ImmutableError
	switch {
	case errors.As(err, &busy):
		return busy.status
	case errors.As(err, &known):
		return known.status
	case errors.As(err, &wrong), errors.As(err, &syntax), errors.As(err, &immutable):
		return http.StatusBadRequest
	case opennebula.NotBegun(err), opennebula.IsCode(err, opennebula.CodeReplication):
		// The zone has no leader, or oned is not reached: it will be there again.
		return http.StatusServiceUnavailable
	case errors.As(err, &refusal):
		switch refusal.Code {
		case opennebula.CodeAuthorization:
			return http.StatusUnauthorized
		case opennebula.CodeAuthentication:
			return http.StatusForbidden
		case opennebula.CodeNoExists:
			return http.StatusNotFound
		}
	case errors.As(err, &transport), errors.As(err, &queued), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// together joins the errors that are not nil in one line: clients show it as it is.
func together(failures ...error) error {
	failures = slices.DeleteFunc(failures, func(err error) bool { return err == nil })
	switch len(failures) {
	case 0:
		return nil
	case 1:
		return failures[0]
	}
	return &joinedError{failures}
}

const maxListed = 10

type joinedError struct{ failures []error }

func (e *joinedError) Error() string {
	texts := make([]string, 0, maxListed+1)
	for _, failure := range e.failures[:min(len(e.failures), maxListed)] {
		texts = append(texts, failure.Error())
	}
	if more := len(e.failures) - maxListed; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "; ")
}

func (e *joinedError) Unwrap() []error { return e.failures }
