// Package spec has the documents that oned keeps for OneFlow: service templates
// and services, in the form in which OneFlow reads and writes them. Attributes
// that nobody knows are kept.
//
//	document.go     Service, Body, Role, Node; json.go: their JSON
//	states.go       the states of services and roles, and the ways between them
//	repair.go       documents that others wrote or edited; fit.go: what does not fit together
//	networks.go     a service's networks; webhooks.go: its receivers
//	inputs.go       its user inputs, and what can hold secrets
//	ownership.go    which VMs and virtual routers are a service's
//	limits.go       how much there may be of everything
package spec
