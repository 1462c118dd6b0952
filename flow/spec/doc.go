// Package spec has the documents that oned keeps for OneFlow: service templates
// and services, in the form in which OneFlow reads and writes them. Attributes
// that nobody knows are kept.
//
//	document.go     Service, Body, Role, Node; json.go: their JSON
//	states.go       the states of services and roles; transitions.go: the ways between them
//	repair.go       documents that others wrote or edited; fit.go: what does not fit together
//	networks.go     a service's networks; inputs.go: its user inputs; webhooks.go: its receivers
//	ownership.go    which VMs and virtual routers are a service's
//	sealed.go       what can hold secrets
//	limits.go       how much there may be of everything
package spec
