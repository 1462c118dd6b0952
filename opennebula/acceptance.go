package opennebula

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

// ServerUserError is returned while oned refuses the server user, whose password may have been changed at oned alone. The call was certainly
// not carried out, and says nothing about the user for whom it was to be made.
type ServerUserError struct {
	User string
	// Refusal is oned's.
	Refusal *Error
}

// Error names the remedy.
func (e *ServerUserError) Error() string {
	return fmt.Sprintf("oned refuses the server user %s (%s): an administrator has to put its password at oned into the file one.auth_file",
		e.User, e.Refusal.reason())
}

// Unwrap returns oned's refusal.
func (e *ServerUserError) Unwrap() error { return e.Refusal }

// acceptance is whether oned accepts the server user, as far as known. oned runs an auth driver for each session that it refuses: while it
// refuses the server user, one check is made from time to time, and all other calls fail without being made.
//
// Safety: a call fails here only after oned has refused the server user itself. Liveness: the pause between checks is bounded, and a changed
// password is tried at once.
type acceptance struct {
	logger *slog.Logger

	mutex    sync.Mutex
	refused  *ServerUserError // nil unless oned refuses it
	next     time.Time        // of the next check
	pause    *idle.Backoff
	checking bool
}

// refusal returns the refusal of the server user, nil unless oned is known to refuse it.
func (a *acceptance) refusal() *ServerUserError {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.refused
}

// isDue reports whether the caller has to check now whether oned still refuses the server user.
func (a *acceptance) isDue() bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	due := a.refused != nil && !a.checking && !time.Now().Before(a.next)
	a.checking = a.checking || due
	return due
}

// note records how a call in the server user's own session ended, and returns the refusal of the server user, if it was one.
func (a *acceptance) note(user string, err error) *ServerUserError {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.checking = false
	refusal, answered := errors.AsType[*Error](err)
	switch {
	case answered && refusal.Code == CodeAuthentication:
		if a.refused == nil {
			a.pause = idle.NewBackoff()
			a.logger.Warn("oned refuses the server user, retrying", "user", user, "reason", refusal.reason())
		}
		a.refused, a.next = &ServerUserError{User: user, Refusal: refusal}, time.Now().Add(2*a.pause.Next())
		return a.refused
	case a.refused != nil && (err == nil || answered):
		a.logger.Info("oned accepts the server user again", "user", user)
	}
	a.refused = nil
	return nil
}

// giveUp leaves a check to the next call, and returns what is known.
func (a *acceptance) giveUp() *ServerUserError {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.checking = false
	return a.refused
}

// forget has the next call made: the server user has another password.
func (a *acceptance) forget() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.refused = nil
}

// admit returns an error while oned refuses the server user.
func (e *exchange) admit(ctx context.Context) error {
	if e.acceptance.isDue() {
		_, _ = e.checkServerUser(ctx) // an error without a refusal is the call's, too
	}
	if refused := e.acceptance.refusal(); refused != nil {
		return refused
	}
	return nil
}

// blame returns the error of a call that oned has refused in a session of the server user: it may refuse the server user itself, or only the
// user for whom that acts.
func (e *exchange) blame(ctx context.Context, s *caller, method string, refusal error) error {
	refused := e.acceptance.refusal()
	var err error
	switch {
	case refused != nil:
	case s.target == e.tokens.user:
		refused = e.acceptance.note(s.target, refusal)
	default:
		refused, err = e.checkServerUser(ctx)
	}
	_, answered := errors.AsType[*Error](err)
	switch {
	case refused != nil:
		return refused
	case err != nil && !answered: // who is refused is not known
		return &TransportError{Method: method, Err: err}
	}
	return refusal
}

// checkServerUser asks oned whether it refuses the server user.
func (e *exchange) checkServerUser(ctx context.Context) (*ServerUserError, error) {
	own := e.as(e.tokens.user, "")
	_, err := e.send(ctx, own, methodUserInfo, []any{-1, false})
	if err != nil && ctx.Err() != nil { // the caller has gone, which says nothing about oned
		return e.acceptance.giveUp(), err
	}
	return e.acceptance.note(own.target, err), err
}
