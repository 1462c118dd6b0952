// Package work is what workers use of JetStream: the work that wakes services, the records
// of what was decided, whose each VM and network is, timers, and the workers themselves.
//
//	queue.go       waking services, and reading one partition's work
//	events.go      reading OpenNebula's events, for the router
//	records.go     services' records, by compare-and-set
//	objects.go     which service a VM or network belongs to
//	timers.go      setting and cancelling timers
//	membership.go  the live workers, and which keys each owns
//	ownership.go   how keys are shared out among workers
//	repair.go      a stream that ends before what has been read of it
//
// Safety: a record changes only by compare-and-set, so of two writers one fails. Two workers
// may own one key for a second, which costs work that is thrown away. Liveness: a
// worker that is gone, or cut off, loses its keys to the others after 0.8 s.
package work
