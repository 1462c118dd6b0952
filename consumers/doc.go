// Package consumers are the workers: they own services, plan each service's
// next step and carry it out.
//
// A worker reads the partitions of the work that membership gives it, and runs
// a loop for each service: services in parallel, one service strictly in order. For
// each input a service loop plans, commits what was decided by compare-and-set, makes
// the calls to oned, saves the document and publishes what happened.
//
// The way of an input:
//
//	Worker       owns partitions, and follows who comes and goes     worker.go
//	partition    reads inputs in order, saves how far all are done   partition.go
//	inbox        keeps what waits for one service, merged            inbox.go
//	scheduler    gives slots to service loops                        scheduler.go
//	serviceLoop  handles one input after the other, and retries      loop.go, handle.go
//	loader       reads record and document, and holds them together  load.go
//	ingester     takes up how VMs are, from events or oned           ingest.go, heard.go
//	saver        commits, saves the document, publishes, sets timers commit.go, history.go
//	executor     makes the calls of a decision, each once            act.go, networks.go
//	             finds VMs whose call was not answered, and ends
//	             those that came after their service had ended       orphans.go
//
// What wakes services is in the package routing.
//
// Safety: no call is made for what is not committed, so a worker that has lost
// its services without knowing fails at its next commit and changes nothing
// more; a call whose answer was lost is looked up by its key before it is made
// again. Liveness: an input that cannot be handled now is tried again with
// back-off; one that never can be goes to the dead letters; and a cursor moves
// only past what is committed, so whoever takes over reads the rest again.
package consumers
