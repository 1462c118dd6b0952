// Package app puts Flowjet together: an embedded NATS server or a connection to
// one, the simulated OpenNebula if asked for, the bridge, a worker and the API.
//
// Everything that Start acquires, Stop releases in reverse, within the time
// that its context allows; a Start that fails releases what it had acquired.
package app
