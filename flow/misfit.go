package flow

import "fmt"

// putRight takes a running service that another server has left with roles which
// are not running to where they are seen to. It reports whether the service's state
// changed.
func (p *planner) putRight() bool {
	next := p.state()
	for i := range p.roles() {
		role := &p.roles()[i]
		switch role.state() {
		case RoleCooldown:
			p.roleTo(role, RoleRunning, "")
		case RolePending, RoleDeploying, RoleHold, RoleFailedDeploying:
			next = ServiceDeploying
		case RoleFailedScaling:
			next = ServiceScaling
		case RoleUndeploying, RoleFailedUndeploying, RoleDone:
			p.Removing = role.Name
			p.to(ServiceUndeploying)
			return true
		}
	}
	if next == p.state() {
		return false
	}
	p.to(next)
	return true
}

// misfit reports whether a service that is deployed has a role that is on its way out,
// or failed at something else: whoever wrote that has to say what is meant.
func (p *planner) misfit() bool {
	for i := range p.roles() {
		role := &p.roles()[i]
		switch role.state() {
		case RoleUndeploying, RoleFailedUndeploying, RoleDone, RoleFailedScaling:
			p.log("E", fmt.Sprintf("Role %s : it is %s, which has no place in a service that is deployed", role.Name, role.state()))
			return true
		}
	}
	return false
}
