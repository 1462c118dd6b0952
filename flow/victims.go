package flow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// victims are the nodes that a shrinking role is to lose: those that end or were asked to
// already, and of the others as many as are too many, in the role's order. Protected ones
// are none.
func (s scaler) victims(role *spec.Role) []spec.Node {
	surplus := len(role.Nodes) - role.Cardinality
	var chosen, others []spec.Node
	for _, node := range role.Nodes {
		vm, known := s.facts[node.DeployID]
		switch {
		case s.AskedToEnd(node.DeployID) || known && vm.Ending():
			chosen = append(chosen, node)
		case !vm.Protected:
			others = append(others, node)
		}
	}
	order := policy.VictimOrder(role)
	slices.SortStableFunc(others, func(a, b spec.Node) int {
		if first := s.standing(order, a) - s.standing(order, b); first != 0 || order != policy.VictimsNewest {
			return first
		}
		return b.DeployID - a.DeployID
	})
	if more := surplus - len(chosen); more > 0 {
		chosen = append(chosen, others[:min(more, len(others))]...)
	}
	return chosen
}

// standing is how much a VM is to be kept.
func (s scaler) standing(order string, node spec.Node) int {
	vm, known := s.facts[node.DeployID]
	switch {
	case !known:
		return 3 // nothing is known against it
	case vm.Troubled():
		return 0
	case vm.Underway() || vm.State == one.VMInit || vm.State == one.VMHold || vm.State == one.VMCloning:
		return 1
	case order == policy.VictimsNotReady && (!vm.Running() || !vm.Ready):
		return 2
	}
	return 3
}

// protected are the role's VMs that no scaling ends.
func (s scaler) protected(role *spec.Role) []int {
	var found []int
	for _, node := range role.Nodes {
		if s.facts[node.DeployID].Protected {
			found = append(found, node.DeployID)
		}
	}
	return found
}

// protectedText names VMs that no scaling ends.
func protectedText(vms []int) string {
	names := make([]string, 0, len(vms))
	for _, vm := range vms[:min(len(vms), maxReasons)] {
		names = append(names, strconv.Itoa(vm))
	}
	if more := len(vms) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	last := len(names) - 1
	if last == 0 {
		return "VM " + names[0] + " is protected (" + one.ProtectAttribute + "=YES)"
	}
	return "VMs " + strings.Join(names[:last], ", ") + " and " + names[last] + " are protected (" + one.ProtectAttribute + "=YES)"
}

// endAtProtected ends a scaling down where only protected VMs are left to end: the role
// keeps them.
func (s scaler) endAtProtected(role *spec.Role, leaving []spec.Node) {
	least := len(role.Nodes) - len(leaving)
	if least <= role.Cardinality {
		return
	}
	s.log("E", fmt.Sprintf("Role %s : the scaling down to %d ends at %d nodes: %s",
		role.Name, role.Cardinality, least, protectedText(s.protected(role))))
	role.Cardinality = least
}
