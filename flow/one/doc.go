// Package one has OpenNebula's objects as decisions see them: a VM with its
// states and what they mean for a service, the states of virtual networks,
// users, and templates in OpenNebula's language. Numbers and names are oned's.
//
//	vm.go          VM, its owner, and what its states mean
//	states.go      the states of VMs and virtual networks
//	stage.go       what oned does with a VM on its way from state to state
//	inspection.go  what a VM's whole XML tells
//	template.go    templates as trees; parse.go and check.go: from text
package one
