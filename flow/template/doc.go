// Package template reads what clients send: service templates, changes of
// them and of services, and roles that are added. Each goes the same way: read,
// compare with the limits, normalise into the form of package spec, validate.
// The errors are Violations, which name everything that is wrong, a
// *SyntaxError, or an *ImmutableError.
//
//	read.go         Read, Validate, Replace and Append; update.go, instantiate.go: the other ways in
//	counts.go       the limits
//	normalise.go    into today's form, also from OneFlow 6 and 5
//	shape.go        the values of attributes; roles.go, networks.go, contents.go: what has to fit
//	                together
//	merge.go        what is given for instantiating, merged over a template
//	unread.go       attributes that nobody reads
package template
