// Package routing brings work to the services: what has happened, and what would
// otherwise wake nobody.
//
//	Router      gives each event to the service that it concerns         router.go
//	            finds services that nothing wakes, and VMs that a
//	            leader of the zone left in mid-change                    scan.go
//	            repairs streams that were damaged                        damage.go
//	owners      knows which service a VM or network belongs to           owners.go
//	Autoscaler  measures the VMs that elasticity policies ask about      autoscaler.go
//	olderData   finds services that went on since the data was written   damage.go
//	Services    lists all services, and wakes one or all                 scan.go
//
// One worker at a time runs the router, and one the autoscaler. Two at once do no
// harm: what both publish has the same message ids. Nothing here decides or changes
// anything at oned.
package routing
