// Package render makes the template text that a role's VMs and virtual router
// are instantiated with: its template_contents, with the values of variables
// put in, laid over its VM template.
//
//	contents.go   ExtraTemplate; what is known of inputs and networks when deploying begins
//	variables.go  $NAME and ${Parent.path}
//	merge.go      how contents are laid over a VM template
package render
