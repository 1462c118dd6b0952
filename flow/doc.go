// Package flow is the domain of Flowjet: service templates, services, roles,
// their states, and Plan, which decides what a service needs next.
//
// The package is pure. State, facts and the time come in; new state and
// actions go out. It does no I/O, starts no goroutine and reads no clock, so
// every decision can be tested and repeated.
//
// Safety: a VM is decided on only through an intent with a key of its own; a
// cardinality is never negative; a state changes only along the tables in
// transitions.go. Liveness: every state that waits names the time at which to
// look again, and every state has a command that leads out of it.
package flow
