package flow

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// applyAddRole puts a new role into a running service; the steps deploy it.
func (p *planner) applyAddRole(arguments AddRoleArguments) error {
	if state := p.state(); state != ServiceRunning {
		return refuse(RefusedState, "service %d is %s: roles can be added when it is RUNNING", p.Service.ID, state)
	}
	role, err := readRole(arguments.Role, p.roles(), p.now)
	if err != nil {
		return refuse(RefusedInput, "the role cannot be added to service %d: %v", p.Service.ID, err)
	}
	if p.role(role.Name) != nil {
		return refuse(RefusedState, "service %d has a role %s already", p.Service.ID, role.Name)
	}
	p.Service.Body.Roles = append(p.roles(), role)
	p.prepare()
	p.fillContents(p.role(role.Name))
	p.to(ServiceDeploying)
	return nil
}

// readRole reads a role as clients write it, as an object or as a text that
// holds one, against the roles that are there.
func readRole(text json.RawMessage, others []Role, now time.Time) (Role, error) {
	if kindOf(text) == kindText {
		text = json.RawMessage(textOf(text))
	}
	given, err := readObject(text)
	if err != nil {
		return Role{}, err
	}
	name := textOf(given["name"])
	roles := []json.RawMessage{given.text()}
	for _, other := range others {
		if other.Name != name {
			roles = append(roles, mustMarshal(Role{Name: other.Name, Type: RoleTypeVM}))
		}
	}
	body, err := readTemplate(object{"name": json.RawMessage(`"service"`), "roles": mustMarshal(roles)}, now)
	if err != nil {
		return Role{}, ofRole(err)
	}
	return body.Roles[0], nil
}

// ofRole tells what is wrong with a role that came alone by its own paths:
// role.type, where readTemplate says roles[0].type.
func ofRole(err error) error {
	var wrong Violations
	if !errors.As(err, &wrong) {
		return err
	}
	const alone, first = "role", "roles[0]"
	told := slices.Clone(wrong)
	for i, violation := range told {
		if rest, found := strings.CutPrefix(violation.Path, first); found {
			told[i] = Violation{Path: alone + rest, Message: strings.Replace(violation.Message, first, alone, 1)}
		}
	}
	return told
}

// applyRemoveRole has a role end; once its VMs are DONE it is taken out.
func (p *planner) applyRemoveRole(arguments RemoveRoleArguments) error {
	role, state := p.role(arguments.Role), p.state()
	switch {
	case role == nil:
		return refuse(RefusedMissing, "%s", p.Service.NoRole(arguments.Role))
	case state != ServiceRunning && state != ServiceWarning:
		return refuse(RefusedState, "service %d is %s: roles can be removed when it is RUNNING", p.Service.ID, state)
	case !role.state().CanBecome(RoleUndeploying):
		return refuse(RefusedState, "role %s is %s already", role.Name, role.state())
	}
	p.Removing = role.Name
	p.beginEnd(role)
	p.to(ServiceUndeploying)
	return nil
}

// removeRole follows the end of the role that is to be removed; the others run on.
func (p *planner) removeRole(role *Role) {
	if role.state() == RoleUndeploying {
		p.endRole(role)
	}
	switch role.state() {
	case RoleFailedUndeploying:
		p.to(ServiceFailedUndeploying)
	case RoleDone:
		p.dropRole(role.Name)
		p.to(ServiceRunning)
	}
}

// dropRole takes a role out of the service. Roles that had it as a parent wait
// for it no longer.
func (p *planner) dropRole(name string) {
	p.Removing = ""
	delete(p.Heals, name)
	delete(p.Ordinals, name)
	p.Service.Body.Roles = slices.DeleteFunc(p.roles(), func(r Role) bool { return r.Name == name })
	for i := range p.roles() {
		role := &p.roles()[i]
		role.Parents = slices.DeleteFunc(slices.Clone(role.Parents), func(parent string) bool { return parent == name })
	}
}

// removing is the role that is to be removed while the others run on, nil if
// the whole service ends.
func (p *planner) removing() *Role {
	if p.Removing == "" {
		return nil
	}
	return p.role(p.Removing)
}

// ending reports whether all roles are to end.
func (p *planner) ending() bool {
	state := p.state()
	return (state == ServiceUndeploying || state == ServiceFailedUndeploying) && p.removing() == nil
}

// asRefusal is what an unusable input is refused with.
func asRefusal(err error, format string, arguments ...any) error {
	var immutable *ImmutableError
	if errors.As(err, &immutable) {
		return refuse(RefusedState, format, arguments...)
	}
	return refuse(RefusedInput, format, arguments...)
}
