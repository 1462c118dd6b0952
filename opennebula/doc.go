// Package opennebula speaks to oned, OpenNebula's daemon: its XML-RPC calls,
// its sessions, and its hook events.
//
// Safety: a call that may have been carried out is not repeated; an error tells
// whether oned refused it, certainly never saw it, or may have carried it out.
// No session, password or token appears in an error or a log line, and every
// answer and event has a largest size. Liveness: every call ends by its
// context's end or by the client's timeout, whichever is first. In a zone of
// several oneds, calls go to the one that leads, and are made anew there if
// they have certainly not been carried out or change nothing.
package opennebula
