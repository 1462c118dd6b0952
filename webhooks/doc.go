// Package webhooks delivers what happens to services to receivers outside, by
// HTTP: those of the configuration, and those that services name.
//
// One worker, which also routes, finds the receivers of each transition and
// queues a delivery for each in the stream HOOK; the worker that owns a service
// delivers them, one after the other for each pair of receiver and service.
//
// Safety: a delivery is deleted only after a receiver has answered with a status
// of 2xx, or after it became a dead letter, so each transition is delivered at
// least once, and about one service in order. A worker that dies between the answer and the
// deletion, or is overtaken, delivers one again: with the same id. What is posted
// is signed with a secret that is read from a file and is in no stream. No request goes to an address
// of this host or to a link-local one, whatever a name resolves to, and no
// redirect is followed, unless the configuration allows it.
// Liveness: a receiver that fails is tried again with growing pauses, which
// outlive the worker, until the deliveries are too old. One that hangs holds up nobody else.
package webhooks
