// Package policy reads what users set for roles and services beside their
// size: when they scale, how they are healed, how long they may wait, and which
// VMs they lose. It reads leniently, because other servers write documents too;
// the Check functions tell what is wrong for package template.
//
//	policy.go     elasticity and scheduled policies, and the cardinality that they ask for
//	schedule.go   when scheduled policies are due
//	measure.go    what elasticity policies measure
//	heal.go       the attribute heal
//	deadlines.go  the attribute deadlines
//	victims.go    the attribute victims
package policy
