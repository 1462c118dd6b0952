// Package restapi is the HTTP side of Flowjet: OneFlow's API for the clients
// that exist, and Flowjet's own under /flowjet/v1.
//
// Safety: everything is asked of oned as the calling user, so oned's
// permissions and ACLs decide; a change of a service needs MANAGE on its
// document and goes to the service's worker as a command, which names the user
// and carries no secret. Secrets are checked with oned and kept nowhere, not
// even in the cache of verdicts. A handler that panics answers 500 and is
// counted. Liveness: a request ends in bounded time; a command that is queued
// will be carried out even if its client has gone, and can be asked after.
package restapi
