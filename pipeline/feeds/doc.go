// Package feeds stores what bridges hear from oned: a feed is one oned's hook events, in their order.
//
//	lease.go    the right to publish a feed, and publishing with it
//	watch.go    whether the holder of a lease is alive
//	tail.go     the last events stored before a lease
//	index.go    the newest stored event of each VM or network, and storing what a comparison
//	            with oned found missing
//
// Safety: a feed is published only by the holder of its newest lease. Liveness: a holder
// that is silent can be replaced at once.
package feeds
