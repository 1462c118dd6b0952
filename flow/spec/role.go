package spec

// Has reports whether the VM is one of the role's nodes.
func (r *Role) Has(vm int) bool {
	for _, node := range r.Nodes {
		if node.DeployID == vm {
			return true
		}
	}
	return false
}

// BelowMinimum reports whether the role has lost VMs, or was forced to fewer, than
// its minimum.
func (r *Role) BelowMinimum() bool {
	return !r.IsRouter() && r.MinVMs != nil && r.Cardinality < *r.MinVMs
}

// Shrinking reports whether the role scales down, or failed to.
func (r *Role) Shrinking() bool { return r.ScaleWay != nil && *r.ScaleWay == ScaleDown }

// IsRouter reports whether the role's VMs are those of a virtual router.
func (r *Role) IsRouter() bool { return r.Type == RoleTypeVR }

// CurrentState is the role's; a role without one is PENDING.
func (r *Role) CurrentState() RoleState {
	if r.State == nil {
		return RolePending
	}
	return *r.State
}
