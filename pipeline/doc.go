// Package pipeline is the contract that Flowjet's parts keep with each other on NATS JetStream: the
// names of every stream, subject, header and bucket, every message and record, who may do what, and
// the streams as they are to be. Open connects and makes them. What is done with them is in the
// folders below, a client for each purpose, made of a Pipeline by its New:
//
//	names.go        streams, subjects, buckets, headers, keys
//	messages.go     the messages and records, and in codec.go their JSON
//	transitions.go  what happened to a service, and its cause in words
//	permissions.go  which subjects each role may use
//	provision.go    making the streams and buckets, and extending older ones
//	checkpoints.go  how far readers have come, and whose the data is
//
//	feeds           bridges' leases, and storing OpenNebula's events
//	work            waking services, their records, owners and timers; the workers
//	command         users' commands, their replies, and keys of repeated requests
//	history         what happened to services
//	deadletters     what could not be understood or handled
//	deliveries      what waits for webhooks
//	inspect         how everything is doing, and why a service is in its state
//	presence        the processes that share oned's connections
//	embedded        a NATS server in this process
//
//	internal/js     the core: connecting, storing by one algorithm and one group
//	                commit, reading in order, compare-and-set
//
// Safety: nothing is reported as published before JetStream has acknowledged it; a record changes
// only by compare-and-set, so of two writers one fails; a feed is published only by the holder of
// its newest lease. Liveness: a lost connection is made again for as long as the process runs, and
// a reader that hears nothing, not even idle heartbeats, is replaced.
package pipeline
