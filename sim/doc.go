// Package sim is a simulated OpenNebula: oned's XML-RPC interface, the hook manager's ZeroMQ publisher, four hosts that boot VMs in
// milliseconds, and a control API that breaks all of it on demand. It serves `up --sim`, the tests and the benchmarks. The wire forms
// are those of OpenNebula 7.4.0.
//
// Safety: a call's effect is in the state file before the call is answered and before its events are published, ids are
// never used twice, and a process killed with -9 loses no answered call. Liveness: a VM in transition (booting, shutting
// down) continues after every restart, and a subscriber that is connected and reads gets every event in order, unless a
// fault was configured.
//
// # Map
//
//	Sim                  starts and stops all of it; has its parts' methods       sim.go
//	zone, server         the zone's oneds: sockets, sessions, who runs            zone.go, server.go
//	raft, replication    who leads, by elections; followers' databases            raft.go
//	methods, request     oned's calls, and the way of one to its answer           calls.go
//	class, object        what all kinds of objects have in common                 object.go
//	vm, window, hosts    VMs: their calls, life and actions; the scheduler        vm.go, lifecycle.go, actions.go, scheduler.go
//	network, vrouter, document, user, templates (and making VMs of them)          a file each, with their calls
//	database, cloud      all objects; changes (tx), their records and timers      database.go, cloud.go
//	hooks                hook events and their faults                             hooks.go
//	callFaults, delays, callLog                                                   callfaults.go
//	controlAPI, faultInjector   the API in docs/simulator.md; break VMs and hosts control.go
//
// Below internal are, each by itself, the clock, the gate of connections, the state file, and XML-RPC with oned's XML, which oned's
// templates are written in.
//
// A call goes server.serve, answer, process (forwarded by route where a follower got it), carryOut, which runs the method under the
// database's lock with a tx that collects records and events; the committer stores and then publishes.
//
// # Limits
//
// A server has the limits of one oned: 15 connections at a time, one call on each and 15 s to receive it, with 15 more in
// the backlog; one remembered session string for each user, and an authentication driver that takes 0.3 s for any other
// session of the server user's (times Config.TimeFactor). In a zone of several a follower forwards writes to the leader and
// reads from a database that is behind (docs/adr/0090). The scheduler places the VMs of the last 10 s (times
// Config.TimeFactor), or seven VMs at once, unless VMs take no time at all. When a leader ends, its drivers' work is lost:
// VMs stay where they were, until somebody recovers or deletes them. A follower whose connections are all taken hears
// nothing from its leader, and the zone elects.
package sim
