// Package restapi is the HTTP side of Flowjet: OneFlow's API for the clients
// that exist, and Flowjet's own below /flowjet/v1, with the live page.
//
// The way of a request:
//
//	Server         listens, starts and stops                            server.go, routes.go
//	middleware     logs, counts, traces, recovers from panics           routes.go
//	dispatcher     turns an endpoint into a handler:                    routes.go
//	  authenticator  has oned check the credentials, remembers verdicts auth.go
//	  admission      bounds the user's rate, bodies and slots           admission.go
//	  idempotency    carries a request with a key out once, and         idempotency.go
//	                 serializes direct changes with If-Match
//	request        is read: documents, attributes, actions              request.go
//	endpoints      of services, service templates and VMs' actions      services.go, templates.go, vm_actions.go
//	  sessions       read services as their records have them           sessions.go
//	  lists          keep oned's lists, and the own writes to them      lists.go
//	  ownership      gives a service with its VMs to another user       ownership.go
//	  commands       queue what changes a service for its worker,       services.go
//	                 and turn the worker's reply into an answer
//	  planner        answers dry runs instead                           plan.go
//	answer         is written; an error with its status                 answers.go, documents.go
//
// Flowjet's own views need no command: events.go, status.go, views.go.
//
// Safety: everything is asked of oned as the calling user, so oned's
// permissions and ACLs decide; a change of a service needs MANAGE on its
// document and goes to the service's worker as a command, which names the user
// and carries no secret. Secrets are checked with oned and kept nowhere, not
// even in the cache of verdicts. A handler that panics answers 500 and is
// counted. Liveness: a request ends in bounded time; a command that is queued
// will be carried out even if its client has gone, and its outcome can be read.
package restapi
