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
//
// The way of a call:
//
//	Session       makes calls as one user, by kind of object   session.go, documents.go, vms.go, networks.go, ...
//	callwriter    writes the call                              callwriter.go
//	exchange      takes it to the leader, and its answer back  exchange.go
//	  slots       bounds the calls at a time                   slots.go
//	  warmups     lets one call of a new session go ahead      warmup.go
//	  leader      finds which oned leads, and confirms it      leader.go, raftpoll.go, zoneservers.go
//	  pulse, life whether oned answers, and was it down        life.go
//	answer        takes the answer apart                       answer.go, errors.go
//	onexml        reads all XML                                onexml/
//
// Beside it: Client has the settings and sessions (client.go, login.go,
// cipher.go), EventDecoder reads hook events (hookevent.go,
// hookkey.go, hookcall.go, ready.go).
package opennebula
