// Package opennebula speaks to oned, OpenNebula's daemon: its XML-RPC calls,
// its sessions, and its hook events.
//
// Safety: a call is put on the wire at most once; an error says whether oned
// refused it, certainly never saw it, or may have carried it out. No session,
// password or token appears in an error or a log line, and every answer and
// event has a largest size. Liveness: every call ends by its context's end or
// by the client's timeout, whichever is first.
package opennebula
