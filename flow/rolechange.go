package flow

import (
	"errors"
	"slices"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

// removeRole follows the end of the role that is to be removed; the others run on.
func (r remover) removeRole(role *spec.Role) {
	if role.CurrentState() == spec.RoleUndeploying {
		r.undeployer.endRole(role)
	}
	switch role.CurrentState() {
	case spec.RoleFailedUndeploying:
		r.to(spec.ServiceFailedUndeploying)
	case spec.RoleDone:
		r.dropRole(role.Name)
		r.to(r.afterRemoval())
	}
}

// dropRole takes a role out of the service. Roles that had it as a parent wait
// for it no longer.
func (r remover) dropRole(name string) {
	r.Removing = ""
	delete(r.Heals, name)
	delete(r.Ordinals, name)
	r.Service.Body.Roles = slices.DeleteFunc(r.roles(), func(r spec.Role) bool { return r.Name == name })
	for role := range r.eachRole() {
		role.Parents = slices.DeleteFunc(slices.Clone(role.Parents), func(parent string) bool { return parent == name })
	}
}

// removing is the role that is to be removed while the others run on, nil if
// the whole service ends.
func (r remover) removing() *spec.Role {
	if r.Removing == "" {
		return nil
	}
	return r.role(r.Removing)
}

// ending reports whether all roles are to end.
func (r remover) ending() bool {
	state := r.state()
	return (state == spec.ServiceUndeploying || state == spec.ServiceFailedUndeploying) && r.removing() == nil
}

// asRefusal is what an unusable input is refused with.
func asRefusal(err error, format string, arguments ...any) error {
	var immutable *template.ImmutableError
	if errors.As(err, &immutable) {
		return refuse(RefusedState, format, arguments...)
	}
	return refuse(RefusedInput, format, arguments...)
}
