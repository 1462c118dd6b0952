// Package one has OpenNebula's objects as decisions see them: a VM with its
// states and what they mean for a service, the states of virtual networks,
// users, and templates in OpenNebula's language. Numbers and names are oned's.
//
//	vm.go        VM, its owner, what its states mean, and what its whole XML tells
//	states.go    the states of VMs and virtual networks
//	template.go  templates as trees, and from text
package one
