// Package routing brings work to the services: events, and whatever else has to
// wake them.
//
//	Router      sends each event to the service that it concerns         router.go
//	            finds services that nothing wakes, and VMs that a
//	            leader of the zone left in mid-change                    scan.go
//	            repairs streams that were damaged                        damage.go
//	owners      knows the services of VMs and networks                   owners.go
//	Autoscaler  measures the VMs that elasticity policies refer to       autoscaler.go
//	olderData   finds services that went on since the data was written   damage.go
//	Services    lists all services, and wakes one or all                 scan.go
//
// One worker at a time runs the router, and one the autoscaler. Two at once do no
// harm: their messages have the same ids. Nothing here decides or changes
// anything at oned.
package routing
