// Package render makes the template text that a role's VMs and virtual router
// are instantiated with: its template_contents, with the values of variables
// put in, laid over its VM template.
//
//	contents.go   ExtraTemplate: contents laid over a VM template; what is known of inputs and
//	              networks when deploying begins
//	variables.go  $NAME and ${Parent.path}
package render
