// Package bridge carries OpenNebula's hook events from ZeroMQ to JetStream.
//
// The path of an event:
//
//	listener      reads one publisher, and reconnects                 listener.go, connection.go
//	queue         holds the messages of a burst, bounded              listener.go
//	decoder       makes entries of them, in order                     decode.go
//	replayBuffer  holds entries until they are stored, and a tail     replaybuffer.go, spill.go
//	feed          publishes them in batches while it holds the lease  feed.go
//	              takes the lease over, and finds its position        takeover.go
//
// Beside it:
//
//	resyncer      compares oned with the stored events                resync.go, kinds.go
//	monitor       asks whether a feed's oned leads, probes silence    monitor.go
//	Bridge        starts and stops all of it, and its status          bridge.go, status.go
//	Replay        publishes a recording, for `flowjet replay`         replay.go
//
// Safety: a feed is the events of one publisher. They are stored in the order in which they were
// received, each once, by one bridge at a time; no event leaves the bridge before JetStream has
// acknowledged it. Only states, ids and the few attributes that services need are passed on, never
// template text, documents or secrets. A message that cannot be parsed becomes a dead letter
// with its key, length and hash, and holds nothing up.
//
// Several bridges may receive the same feed. One publishes it and sends heartbeats five times a
// second; the others keep their latest events. When it stops or falls silent, JetStream lets
// one of the others in and refuses the former holder from then on; the new holder finds the last stored
// events among its own, and continues right behind them.
//
// Liveness: ZeroMQ drops messages silently when nobody is connected, or nobody reads fast
// enough. After each connect, take-over, change of the zone's leader and overflow, and every few
// minutes, the bridge compares oned's VMs and networks with the stored events and publishes the
// differences, marked as resync: lost events are made up for as long as oned and JetStream can be
// reached. While JetStream cannot, events wait in memory, then in a file; beyond that they are
// dropped and made up for in the same way.
package bridge
