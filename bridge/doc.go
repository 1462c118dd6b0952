// Package bridge carries OpenNebula's hook events from ZeroMQ to JetStream.
//
// Safety: the events of a feed are stored in the order in which they were
// heard, each once, by one bridge at a time; none leaves the bridge's memory
// before JetStream has acknowledged it. Of an event only states, ids and the
// few attributes that services need are passed on, never template text,
// documents or secrets. What cannot be understood goes to the dead letters,
// by its key, length and hash, and holds nothing up.
//
// Liveness: ZeroMQ loses messages without a word when nobody listens, or
// nobody listens fast enough. After each connect, after an overflow of the
// queue and every few minutes, the bridge compares oned's VMs with what is
// stored and publishes the differences, marked as resync: what was lost is made
// up for as long as oned and JetStream can be reached.
package bridge
