package spec

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// fit repairs contradictions in a service's body. It gives every role a unique name: the first role with a name keeps it, for parents are
// given by name.
func (r *repair) fit(body *Body) {
	if body.Roles == nil {
		body.Roles = []Role{}
	}
	taken, met, next := map[string]bool{}, map[string]bool{}, map[string]int{}
	for _, role := range body.Roles {
		taken[role.Name] = true
	}
	for i := range body.Roles {
		role := &body.Roles[i]
		if role.Name != "" && !met[role.Name] {
			met[role.Name] = true
			continue
		}
		name := cmp.Or(role.Name, "role")
		n := max(2, next[name])
		for taken[fmt.Sprintf("%s_%d", name, n)] {
			n++
		}
		role.Name, next[name] = fmt.Sprintf("%s_%d", name, n), n+1
		taken[role.Name], met[role.Name] = true, true
		r.note("roles[%d].name was missing or not unique and is now %q", i, role.Name)
	}
	r.fitState(body)
	for role := range body.EachRole() {
		r.fitRole(body, role)
	}
}

// fitState replaces an unknown state. A service with VMs becomes RUNNING, so that it is watched; one without any waits for a user to
// recover it. A service without a state is PENDING unless it has got further. VMs in a service or a role that has ended have to end.
func (r *repair) fitState(body *Body) {
	left, begun := false, false
	for _, role := range body.Roles {
		left = left || len(role.Nodes) > 0
		begun = begun || role.State != nil && *role.State > RolePending
	}
	isKnown := body.State != nil && *body.State >= 0 && int(*body.State) < len(serviceStateNames)
	if !isKnown && (body.State != nil || begun || left) {
		body.State = new(ServiceFailedDeploying)
		if left {
			body.State = new(ServiceRunning)
		}
		r.note("the service's state was missing or invalid and is now %s", *body.State)
	}
	for role := range body.EachRole() {
		if len(role.Nodes) > 0 && role.State != nil && *role.State == RoleDone {
			r.note("role %s was DONE but has VMs and is now UNDEPLOYING", role.Name)
			role.State = new(RoleUndeploying)
		}
	}
	if body.State == nil || !left {
		return
	}
	switch *body.State {
	case ServiceDone, ServiceUndeployingNets, ServiceFailedUndeployingNets:
		r.note("the service was %s but has VMs and is now UNDEPLOYING", *body.State)
		body.State = new(ServiceUndeploying)
	}
}

func (r *repair) fitRole(body *Body, role *Role) {
	service := ServicePending
	if body.State != nil {
		service = *body.State
	}
	if role.Type == "" && role.old == nil {
		if role.Type = RoleTypeVM; role.VRouterID != nil {
			role.Type = RoleTypeVR
		}
		r.note("the type of role %s was missing and is now %s", role.Name, role.Type)
	}
	if role.State != nil && (*role.State < 0 || int(*role.State) >= len(roleStateNames)) {
		state := roleStateIn(service, role)
		r.note("the state of role %s was %d, which is invalid, and is now %s", role.Name, *role.State, state)
		role.State = &state
	} else if role.State == nil && service != ServicePending {
		state := roleStateIn(service, role)
		r.note("the state of role %s was missing and is now %s", role.Name, state)
		role.State = &state
	}
	if role.Nodes == nil && service != ServicePending && service != ServiceDeployingNets {
		role.Nodes = []Node{}
	}
	for i := range role.Nodes {
		role.Nodes[i].VMInfo.VM.ID = strconv.Itoa(role.Nodes[i].DeployID)
	}
	r.fitNumbers(role)
}

// roleStateIn returns a likely state of a role, given only the service's.
func roleStateIn(service ServiceState, role *Role) RoleState {
	switch service {
	case ServicePending, ServiceDeployingNets, ServiceFailedDeployingNets:
		return RolePending
	case ServiceRunning, ServiceWarning, ServiceCooldown:
		return RoleRunning
	case ServiceScaling, ServiceFailedScaling:
		if role.ScaleWay == nil {
			return RoleRunning
		}
	case ServiceUndeployingNets, ServiceFailedUndeployingNets, ServiceDone:
		return RoleDone
	case ServiceHold:
		return RoleHold
	case ServiceFailedDeploying, ServiceFailedUndeploying, ServiceDeploying, ServiceUndeploying:
	}
	return RoleState(service) // up to COOLDOWN the numbers mean the same
}

// fitNumbers keeps the number of the role's next VM above the numbers in its VMs' names, and repairs its cardinality, limits and scale_way.
func (r *repair) fitNumbers(role *Role) {
	if wrong := role.Cardinality; wrong < 0 || wrong > MaxVMs {
		role.Cardinality = min(len(role.Nodes), MaxVMs)
		r.note("the cardinality of role %s was %d or unreadable and is now %d, the number of its VMs", role.Name, wrong, role.Cardinality)
	}
	for _, limit := range []**int{&role.MinVMs, &role.MaxVMs, &role.Cooldown} {
		if *limit != nil && **limit < 0 {
			r.note("a limit of role %s was %d and is removed", role.Name, **limit)
			*limit = nil
		}
	}
	next := 0
	for _, node := range role.Nodes {
		if found := numberedName.FindStringSubmatch(node.VMInfo.VM.Name); found != nil {
			number, _ := strconv.Atoi(found[1]) // six digits
			next = max(next, number+1)
		}
	}
	if role.LastVMName == nil {
		next = max(next, len(role.Nodes))
	}
	if !role.IsRouter() && (role.LastVMName == nil && next > 0 || role.LastVMName != nil && *role.LastVMName < next) {
		r.note("the last_vmname of role %s was missing or too small for its VMs and is now %d", role.Name, next)
		role.LastVMName = &next
	}
	scaling := role.CurrentState() == RoleScaling || role.CurrentState() == RoleFailedScaling
	known := role.ScaleWay != nil && (*role.ScaleWay == ScaleUp || *role.ScaleWay == ScaleDown)
	if known || role.ScaleWay == nil && !scaling {
		return
	}
	role.ScaleWay = nil
	if scaling {
		role.ScaleWay = new(ScaleUp)
		if len(role.Nodes) > role.Cardinality {
			role.ScaleWay = new(ScaleDown)
		}
	}
	r.note("the scale_way of role %s was missing or invalid and is derived from its VMs", role.Name)
}

// numberedName matches a VM's name as OneFlow makes it by default.
var numberedName = regexp.MustCompile(`_(\d{1,6})_\(service_\d+\)$`)
