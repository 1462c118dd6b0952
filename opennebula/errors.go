package opennebula

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ErrTooLarge is the cause of a TransportError when an answer was larger than
// the client's limit; a smaller range helps.
var ErrTooLarge = errors.New("the answer is too large")

// ErrUnconfirmed is the cause of an error of a confirmed read when it is not
// certain that the server led the zone while it answered.
var ErrUnconfirmed = errors.New("the zone's leader is not known for certain, or too few servers answer")

// ErrDisagree is the cause of an error of a confirmed read of an object that the zone's leader lacks and a follower has: one of them has lost
// writes. Only an operator knows which.
var ErrDisagree = errors.New("oned's servers have different data: restore the wrong one from another one's database (`onedb backup`, `onedb restore`)")

// codeNames are the names of the error numbers in OpenNebula's documentation.
var codeNames = map[Code]string{
	CodeAuthentication: "AUTHENTICATION", CodeAuthorization: "AUTHORIZATION", CodeNoExists: "NO_EXISTS",
	CodeAction: "ACTION", CodeXMLRPC: "XML_RPC_API", CodeInternal: "INTERNAL", CodeAllocate: "ALLOCATE",
	CodeLocked: "LOCKED", CodeReplication: "REPLICATION",
}

// String returns the code's name in OpenNebula's documentation.
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

// Error returns the call, oned's reason and its code.
func (e *Error) Error() string {
	return fmt.Sprintf("oned refused %s: %s (%s)", e.Method, cmp.Or(e.reason(), "no reason given"), e.Code)
}

// takesTemplate matches the calls that make or change something by a template's text.
var takesTemplate = regexp.MustCompile(`\.(allocate|instantiate|reserve|update)$`)

// reason returns oned's message without the name of the call at its front.
func (e *Error) reason() string {
	if strings.HasPrefix(e.Message, "[one.") {
		if _, reason, found := strings.Cut(e.Message, "]"); found {
			return strings.TrimSpace(reason)
		}
	}
	return strings.TrimSpace(e.Message)
}

// IsCode reports whether err is a refusal by oned with that code.
func IsCode(err error, code Code) bool {
	refusal, refused := errors.AsType[*Error](err)
	return refused && refusal.Code == code
}

// TransportError is returned for a call without a usable answer.
type TransportError struct {
	Method string
	// Sent reports whether oned may have received the call and carried it out. If
	// not, not a byte of the call has left.
	Sent bool
	Err  error
}

// Error includes what is known about the call's fate.
func (e *TransportError) Error() string {
	if e.Sent {
		return fmt.Sprintf("%s: no usable answer from oned, which may have executed the call: %v", e.Method, e.Err)
	}
	return fmt.Sprintf("%s: oned is unreachable: %v (is it running, and is the endpoint right?)", e.Method, e.Err)
}

// Unwrap returns the cause: a context's error, a network error, a decoding error.
func (e *TransportError) Unwrap() error { return e.Err }

// notBegun reports whether a reason of oned's for INTERNAL means that it did not begin
// the call: the zone had no leader, or the follower that was asked could not connect
// to it. Only the front is compared: the rest can be a user's text.
func notBegun(reason string) bool {
	if forwarding, failed := strings.CutPrefix(reason, "libcurl failed to execute the HTTP POST transaction"); failed {
		return strings.Contains(forwarding, "Failed to connect to")
	}
	doing, refused := strings.CutPrefix(reason, "Cannot process request, ")
	return refused && (doing == "no leader found" ||
		strings.HasPrefix(doing, "oned cluster in election") || doing == "oned cluster is replicating log")
}

// finalReasons are the beginnings of oned's reasons for INTERNAL that do not pass: the template
// cannot be read, or refers to something missing or forbidden.
var finalReasons = []string{
	"Parse error", "Cannot update template. Parse error", "Error transforming the ", "Invalid NAME", "NAME is already taken by ",
	"Virtual network with ID: ", "Cannot get IP/MAC lease from ", endedVM,
}

// These are oned's sentences about an object that is made or deleted, without a reason: its
// database did not accept the change, because the server is no longer the leader.
var (
	bareAllocation = regexp.MustCompile(`^Error allocating a new [a-z ]+\.$`)
	bareDeletion   = regexp.MustCompile(`^Cannot delete [a-z ]+\.$`)
)

// endedVM is the beginning of the refusal of a scheduled action whose VM is DONE.
const endedVM = "Unable to create Scheduled Action for Virtual Machine "

// EndedVM reports whether oned refused to schedule an action because its VM is DONE.
func EndedVM(err error) bool {
	return internal(err, func(reason string) bool {
		return strings.HasPrefix(reason, endedVM) && strings.HasSuffix(reason, "it's in DONE state")
	})
}

func final(reason string) bool {
	return slices.ContainsFunc(finalReasons, func(beginning string) bool { return strings.HasPrefix(reason, beginning) }) ||
		strings.HasPrefix(reason, "User ") && strings.Contains(reason, " does not own a network with name: ")
}

// internal reports whether err is a refusal with INTERNAL whose reason is of a kind.
func internal(err error, kind func(reason string) bool) bool {
	refusal, refused := errors.AsType[*Error](err)
	return refused && refusal.Code == CodeInternal && kind(refusal.reason())
}

// NotBegun reports whether oned has certainly not begun the call: not a byte of it
// has left, the zone had no certain leader, or oned refuses the server user.
func NotBegun(err error) bool {
	transport, lost := errors.AsType[*TransportError](err)
	_, refused := errors.AsType[*ServerUserError](err)
	return refused || errors.Is(err, ErrUnconfirmed) || errors.Is(err, ErrDisagree) || lost && !transport.Sent || internal(err, notBegun)
}

// Ambiguous reports whether the call may or may not have been carried out, so that
// its effect has to be checked before it is repeated. That is so without an
// answer, and for INTERNAL without a known reason: a leader that loses its
// leadership refuses with its ordinary sentence a change that the next leader may still carry out.
func Ambiguous(err error) bool {
	if transport, lost := errors.AsType[*TransportError](err); lost {
		return transport.Sent
	}
	refusal, refused := errors.AsType[*Error](err)
	if !refused {
		return false
	}
	switch reason := refusal.reason(); refusal.Code {
	case CodeInternal:
		return !notBegun(reason) && !final(reason)
	case CodeAllocate:
		return bareAllocation.MatchString(reason)
	case CodeAction:
		return bareDeletion.MatchString(reason)
	case CodeReplication:
		return true
	}
	return false
}

// Temporary reports whether the same call may succeed later: it is NotBegun or
// Ambiguous. Every other refusal is final.
func Temporary(err error) bool { return NotBegun(err) || Ambiguous(err) }

// WriteTime is for how long after an event oned may still answer with the state before it: it sends
// the event first, then writes to its database (VirtualMachinePool::update), and answers from
// there.
const WriteTime = 2 * time.Second

// Code is oned's error number, the third element of a refusal.
type Code int

// The error numbers of oned.
const (
	CodeAuthentication Code = 0x0100
	CodeAuthorization  Code = 0x0200
	CodeNoExists       Code = 0x0400
	CodeAction         Code = 0x0800
	CodeXMLRPC         Code = 0x1000
	CodeInternal       Code = 0x2000
	CodeAllocate       Code = 0x4000
	CodeLocked         Code = 0x8000
	CodeReplication    Code = 0x10000
)
