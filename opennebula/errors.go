package opennebula

import (
	"errors"
	"fmt"
	"strings"
)

// ErrTooLarge is the cause of a TransportError when an answer was larger than
// the client reads; asking for a smaller range helps.
var ErrTooLarge = errors.New("the answer is larger than is read")

// codeNames are what OpenNebula's documentation calls the error numbers.
var codeNames = map[Code]string{
	CodeAuthentication: "AUTHENTICATION", CodeAuthorization: "AUTHORIZATION", CodeNoExists: "NO_EXISTS",
	CodeAction: "ACTION", CodeXMLRPC: "XML_RPC_API", CodeInternal: "INTERNAL", CodeAllocate: "ALLOCATE",
	CodeLocked: "LOCKED", CodeReplication: "REPLICATION",
}

// String is the code's name in OpenNebula's documentation.
func (c Code) String() string {
	if name, known := codeNames[c]; known {
		return name
	}
	return fmt.Sprintf("code %#x", int(c))
}

// Error is a refusal by oned: the call was understood and not carried out.
type Error struct {
	Method string
	Code   Code
	// Message is oned's own, "[one.vm.info] Error getting virtual machine [7]."
	Message string
}

// Error names the call, oned's reason and its code.
func (e *Error) Error() string {
	reason := strings.TrimSpace(strings.TrimPrefix(e.Message, "["+e.Method+"]"))
	if reason == "" {
		reason = "no reason given"
	}
	return fmt.Sprintf("oned refused %s: %s (%s)", e.Method, reason, e.Code)
}

// asError is the refusal in err, if it is one.
func asError(err error) (*Error, bool) {
	var refusal *Error
	refused := errors.As(err, &refusal)
	return refusal, refused
}

// unsent says that not a byte of the call has left.
func unsent(err error) bool {
	var transport *TransportError
	return errors.As(err, &transport) && !transport.Sent
}

// IsCode says whether err is a refusal by oned with that code.
func IsCode(err error, code Code) bool {
	refusal, refused := asError(err)
	return refused && refusal.Code == code
}

// TransportError is a call without an answer that could be used.
type TransportError struct {
	Method string
	// Sent says that oned may have seen the call and carried it out. Without
	// it not a byte of the call has left.
	Sent bool
	Err  error
}

// Error says what is known of the call's fate.
func (e *TransportError) Error() string {
	if e.Sent {
		return fmt.Sprintf("%s: no usable answer from oned, which may have carried the call out: %v", e.Method, e.Err)
	}
	return fmt.Sprintf("%s: oned was not reached: %v (is it running, and is the endpoint right?)", e.Method, e.Err)
}

// Unwrap is the cause: a context's error, a network error, a decoding error.
func (e *TransportError) Unwrap() error { return e.Err }

// Ambiguous says that the call may or may not have been carried out, so that
// its effect has to be looked for before it is made again.
func Ambiguous(err error) bool {
	var transport *TransportError
	if errors.As(err, &transport) {
		return transport.Sent
	}
	return IsCode(err, CodeReplication)
}

// Temporary says that the same call may succeed later: oned did not answer,
// was not the leader, or failed inside. An Ambiguous error can be Temporary.
func Temporary(err error) bool {
	var transport *TransportError
	if errors.As(err, &transport) {
		return true
	}
	return IsCode(err, CodeReplication) || IsCode(err, CodeInternal)
}
