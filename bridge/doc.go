// Package bridge carries OpenNebula's hook events from ZeroMQ to JetStream.
//
// The way of an event:
//
//	listener      reads one publisher, connects anew                  listener.go, connection.go
//	queue         holds messages as heard, bounded                    listener.go
//	decoder       makes entries of them, in parallel and in order     decode.go
//	replayBuffer  holds entries until they are stored, and a tail     replaybuffer.go, spill.go
//	feed          publishes them in batches while it holds the lease  feed.go
//	              takes the lease over, and finds its place           takeover.go
//
// Beside it:
//
//	resyncer      compares oned with what is stored                   resync.go, kinds.go
//	monitor       asks whether a feed's oned leads, probes silence    monitor.go
//	Bridge        starts and stops all of it, and its status          bridge.go, status.go
//	Replay        publishes a recording, for `flowjet replay`         replay.go
//
// Safety: what each publisher says is a feed. Its events are stored in the order in which they were
// heard, each once, by one bridge at a time; none leaves the bridge before JetStream has
// acknowledged it. Of an event only states, ids and the few attributes that services need are
// passed on, never template text, documents or secrets. What cannot be understood goes to the dead
// letters, by its key, length and hash, and holds nothing up.
//
// Several bridges may hear the same feed. One publishes it and sends heartbeats five times a
// second; the others keep what they heard lately. When it leaves or falls silent, JetStream lets
// one of the others in and refuses the former from then on; the new one looks up the last stored
// events in what it has heard, and goes on right behind them.
//
// Liveness: ZeroMQ loses messages without a word when nobody listens, or nobody listens fast
// enough. After each connect, take-over, change of the zone's leader and overflow, and every few
// minutes, the bridge compares oned's VMs and networks with what is stored and publishes the
// differences, marked as resync: what was lost is made up for as long as oned and JetStream can be
// reached. While JetStream cannot, events wait in memory, then in a file; beyond that they are
// dropped and made up for in the same way.
package bridge
