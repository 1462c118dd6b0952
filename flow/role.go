package flow

func (r *Role) has(vm int) bool {
	for _, node := range r.Nodes {
		if node.DeployID == vm {
			return true
		}
	}
	return false
}

// belowMinimum reports whether the role has lost VMs, or was forced to fewer, than
// its minimum.
func (r *Role) belowMinimum() bool {
	return !r.isRouter() && r.MinVMs != nil && r.Cardinality < *r.MinVMs
}

// shrinking reports whether the role scales down, or failed to.
func (r *Role) shrinking() bool { return r.ScaleWay != nil && *r.ScaleWay == ScaleDown }

// isRouter reports whether the role's VMs are those of a virtual router.
func (r *Role) isRouter() bool { return r.Type == RoleTypeVR }

// state is the role's; a role without one is PENDING.
func (r *Role) state() RoleState {
	if r.State == nil {
		return RolePending
	}
	return *r.State
}
