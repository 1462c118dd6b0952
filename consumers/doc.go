// Package consumers implements the workers: they own services, plan each service's
// next step and carry it out.
//
// A worker reads the partitions of the work that membership gives it, and runs
// a loop for each service: services in parallel, one service strictly in order. For
// each input a service loop plans, commits the decision by compare-and-set, makes
// the calls to oned, saves the document and publishes the history.
//
// The way of an input:
//
//	Worker       owns partitions, and follows the membership         worker.go
//	partition    reads inputs in order, saves the cursor             partition.go
//	inbox        keeps a service's waiting inputs, merged            inbox.go
//	scheduler    gives slots to service loops                        scheduler.go
//	serviceLoop  handles one input after the other, and retries      loop.go, handle.go
//	             and ends orphans whose service had ended before     orphans.go
//	ingester     updates what is known from an event, or asks oned   ingest.go
//	executor     makes the calls of a decision, each once            act.go
//	loader       reads and compares record and document              load.go
//	routers      make, find and delete virtual routers               networks.go
//	vmFetcher    fetches and finds VMs, and judges what is newer     ingest.go
//	networks     make, find, fetch and delete virtual networks       networks.go
//	ownerSession makes calls as the service's owner                  act.go
//	saver        commits, saves the document, publishes, sets timers commit.go, history.go
//
// The parts of a serviceLoop share its serviceData. Each calls only those below it.
//
// Package routing wakes the services.
//
// Safety: no call is made before its decision is committed, so a worker that has
// lost its services without knowing fails at its next commit and changes nothing
// more; the object of a call whose answer was lost is looked up by its key before
// the call is repeated. Liveness: an input that cannot be handled now is retried
// with back-off; one that never can be is dead-lettered; and a cursor moves only
// past committed inputs, so the next owner reads the rest again.
package consumers
