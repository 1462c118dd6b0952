// Package flow decides what a service needs next. It is pure: state, facts and
// the time come in; new state and actions go out. It does no I/O, starts no
// goroutine and reads no clock, so every decision can be tested and repeated.
//
// Safety: a VM is decided on only through an intent with a key of its own; a
// cardinality is never negative; a state changes only along the tables in
// spec/states.go. Liveness: every state that waits names the time at which
// to look again, and every state has a command that leads out of it.
//
// The packages below it import only those that stand above them in this list:
//
//	one         OpenNebula's objects as decisions see them: VMs, states, templates
//	spec        services and service templates as OneFlow writes them, their states and transitions
//	expression  the conditions of elasticity policies
//	policy      what users set for roles: elasticity, schedules, heal, deadlines, victims
//	render      the template text that VMs and virtual routers are made with
//	template    what clients send: read, validate, merge, instantiate, update
//
// In this package:
//
//	decide.go   Decide and Apply, the outcomes of actions; State, Action, Change
//	command.go  commands and refusals
//	plan.go     the planner, which makes one step after the other until none is due, and its
//	            parts; the file of each is named for what it does
//	explain.go  why a service is in its state; finding.go: in words; advice.go: the ways out
//	changes.go  what the history says
package flow
