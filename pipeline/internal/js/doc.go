// Package js is the core that Flowjet's clients of JetStream share: a connection, the
// ways to store messages, to read a stream in order, and to read and write a bucket.
// It knows none of Flowjet's names and messages.
//
// The ways to store a message, each used for what it is quickest or safest for:
//
//	Publish     one message                                         publish.go
//	Append      some in their order, AppendEach some with           append.go
//	            conditions of their own: each time the quickest of
//	            an atomic batch                                     batch.go
//	            one right behind the other
//	            one after the other
//	Commit      what several callers have at the same time, by      group.go
//	            one AppendEach
//	Stage       a batch that is sent before it may be stored        batch.go
//
// Safety: nothing is reported as stored before JetStream has acknowledged it, and nothing is sent
// that could be stored after its sender was told that it failed. Liveness: each call tries again by
// itself what only needs time (an election, a reconnect), for 15 s or until its context ends; a
// lost connection is made again for as long as the client lives; and a reader that hears nothing,
// not even idle heartbeats, is replaced. After an error that is none of this package's the request
// may have been carried out: calls are made so that repeating them is harmless.
package js
