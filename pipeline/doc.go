// Package pipeline is the contract that Flowjet's parts keep with each other on
// NATS JetStream: every stream, subject, header, bucket and message, and the
// calls that read and write them.
//
// Safety: nothing is reported as published before JetStream has acknowledged
// it; a record changes only by compare-and-set, so of two writers one fails; a
// feed is published only by the holder of its newest lease. Liveness: a lost
// connection is made again for as long as the process runs, and a reader that
// hears nothing, not even idle heartbeats, is replaced.
//
// Each call tries again by itself what only needs time (an election, a
// reconnect), for 15 s or until its context ends. After an error that is none
// of this package's the request may have been carried out: calls are made so
// that repeating them is harmless.
package pipeline
