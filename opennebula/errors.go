package opennebula

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ErrTooLarge is the cause of a TransportError when an answer was larger than
// the client reads; asking for a smaller range helps.
var ErrTooLarge = errors.New("the answer is too large")

// ErrUnconfirmed is the cause of an error of a confirmed read whose server is not
// certain to have led the zone while it answered.
var ErrUnconfirmed = errors.New("the zone's leader is not known for certain")

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
	reason := e.reason()
	if reason == "" {
		reason = "no reason given"
	}
	return fmt.Sprintf("oned refused %s: %s (%s)", e.Method, reason, e.Code)
}

// takesTemplate are the calls that make or change something by a template's text.
var takesTemplate = regexp.MustCompile(`\.(allocate|instantiate|reserve|update)$`)

// reason is oned's message without the name of the call that it puts in front.
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

// TransportError is a call without an answer that could be used.
type TransportError struct {
	Method string
	// Sent reports whether oned may have seen the call and carried it out. Without
	// it not a byte of the call has left.
	Sent bool
	Err  error
}

// Error says what is known of the call's fate.
func (e *TransportError) Error() string {
	if e.Sent {
		return fmt.Sprintf("%s: no usable answer from oned, which may have executed the call: %v", e.Method, e.Err)
	}
	return fmt.Sprintf("%s: oned is unreachable: %v (is it running, and is the endpoint right?)", e.Method, e.Err)
}

// Unwrap is the cause: a context's error, a network error, a decoding error.
func (e *TransportError) Unwrap() error { return e.Err }

// notBegun reports whether a reason of oned's for INTERNAL means that it did not begin
// the call: the zone had no leader, or the follower that was asked could not connect
// to it. The reasons stand at the front: behind it can be what a user wrote.
func notBegun(reason string) bool {
	if forwarding, failed := strings.CutPrefix(reason, "libcurl failed to execute the HTTP POST transaction"); failed {
		return strings.Contains(forwarding, "Failed to connect to")
	}
	doing, refused := strings.CutPrefix(reason, "Cannot process request, ")
	return refused && (doing == "no leader found" ||
		strings.HasPrefix(doing, "oned cluster in election") || doing == "oned cluster is replicating log")
}

// finalReasons are how reasons of oned's for INTERNAL begin that do not pass: what was sent
// cannot be read, or names what is not there or may not be.
var finalReasons = []string{
	"Parse error", "Cannot update template. Parse error", "Error transforming the ", "Invalid NAME", "NAME is already taken by ",
	"Virtual network with ID: ", "Cannot get IP/MAC lease from ", endedVM,
}

// These are oned's sentences about an object that is made or deleted, without a reason: its
// database did not take the change, for the server has lost its place as leader.
var (
	bareAllocation = regexp.MustCompile(`^Error allocating a new [a-z ]+\.$`)
	bareDeletion   = regexp.MustCompile(`^Cannot delete [a-z ]+\.$`)
)

// endedVM is how the refusal of a scheduled action begins whose VM is DONE.
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

// internal reports whether err is a refusal with INTERNAL for a reason of a kind.
func internal(err error, kind func(reason string) bool) bool {
	refusal, refused := errors.AsType[*Error](err)
	return refused && refusal.Code == CodeInternal && kind(refusal.reason())
}

// NotBegun reports whether oned has certainly not begun the call: not a byte of it
// has left, or the zone had no leader.
func NotBegun(err error) bool {
	transport, lost := errors.AsType[*TransportError](err)
	return errors.Is(err, ErrUnconfirmed) || lost && !transport.Sent || internal(err, notBegun)
}

// Ambiguous reports whether the call may or may not have been carried out, so that
// its effect has to be looked for before it is made again. That is so without an
// answer, and for INTERNAL without a reason that is known: a leader that loses its
// place refuses with its ordinary sentence what the next leader may still carry out.
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
// Ambiguous. What is neither is refused for good.
func Temporary(err error) bool { return NotBegun(err) || Ambiguous(err) }

// WriteTime is for how long after an event oned may answer with a state of before: it sends
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
