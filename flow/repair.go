package flow

import "fmt"

// putRight takes a running service that another server has left with roles which
// are not running to where they are seen to. It reports whether the service's state
// changed.
func (d deployer) putRight() bool {
	next := d.state()
	for i := range d.roles() {
		role := &d.roles()[i]
		switch role.state() {
		case RoleCooldown:
			d.roleTo(role, RoleRunning, "")
		case RolePending, RoleDeploying, RoleHold, RoleFailedDeploying:
			next = ServiceDeploying
		case RoleFailedScaling:
			next = ServiceScaling
		case RoleUndeploying, RoleFailedUndeploying, RoleDone:
			d.Removing = role.Name
			d.to(ServiceUndeploying)
			return true
		}
	}
	if next == d.state() {
		return false
	}
	d.to(next)
	return true
}

// misfit reports whether a service that is deployed has a role that is on its way out,
// or failed at something else: whoever wrote that has to say what is meant.
func (d deployer) misfit() bool {
	for i := range d.roles() {
		role := &d.roles()[i]
		switch role.state() {
		case RoleUndeploying, RoleFailedUndeploying, RoleDone, RoleFailedScaling:
			d.log("E", fmt.Sprintf("Role %s : it is %s, which has no place in a service that is deployed", role.Name, role.state()))
			return true
		}
	}
	return false
}
