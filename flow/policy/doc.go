// Package policy reads what users set for roles and services beside their
// size: when they scale, how they are healed, how long they may wait, and which
// VMs they lose. It reads leniently, because other servers write documents too;
// the Check functions tell what is wrong for package template.
//
//	policy.go      elasticity and scheduled policies: what they measure, and the cardinality that they ask for
//	schedule.go    when scheduled policies are due
//	attributes.go  the attributes heal, deadlines and victims
package policy
