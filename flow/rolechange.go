package flow

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// readRole reads a role as clients write it, as an object or as a text that
// holds one, against the service that it comes to.
func readRole(text json.RawMessage, held Body, now time.Time) (Role, error) {
	if kindOf(text) == kindText {
		text = json.RawMessage(textOf(text))
	}
	given, err := readObject(text)
	if err != nil {
		return Role{}, err
	}
	name := textOf(given["name"])
	roles := []json.RawMessage{given.text()}
	for _, other := range held.Roles {
		if other.Name != name {
			roles = append(roles, mustMarshal(map[string]any{"name": other.Name, "type": RoleTypeVM, "template_id": 0}))
		}
	}
	declared := slices.Concat(networkNames(held), inputNames(held.Extra, held.UserInputs, held.UserInputsValues))
	body, err := readAgainst(object{"name": json.RawMessage(`"service"`), "roles": mustMarshal(roles)}, declarations{names: declared}, now)
	if err != nil {
		return Role{}, ofRole(err)
	}
	_ = chooseInputs(&body) // what has no value is not asked for here, as with OneFlow
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

// removeRole follows the end of the role that is to be removed; the others run on.
func (r remover) removeRole(role *Role) {
	if role.state() == RoleUndeploying {
		r.undeployer.endRole(role)
	}
	switch role.state() {
	case RoleFailedUndeploying:
		r.to(ServiceFailedUndeploying)
	case RoleDone:
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
	r.Service.Body.Roles = slices.DeleteFunc(r.roles(), func(r Role) bool { return r.Name == name })
	for i := range r.roles() {
		role := &r.roles()[i]
		role.Parents = slices.DeleteFunc(slices.Clone(role.Parents), func(parent string) bool { return parent == name })
	}
}

// removing is the role that is to be removed while the others run on, nil if
// the whole service ends.
func (r remover) removing() *Role {
	if r.Removing == "" {
		return nil
	}
	return r.role(r.Removing)
}

// ending reports whether all roles are to end.
func (r remover) ending() bool {
	state := r.state()
	return (state == ServiceUndeploying || state == ServiceFailedUndeploying) && r.removing() == nil
}

// asRefusal is what an unusable input is refused with.
func asRefusal(err error, format string, arguments ...any) error {
	var immutable *ImmutableError
	if errors.As(err, &immutable) {
		return refuse(RefusedState, format, arguments...)
	}
	return refuse(RefusedInput, format, arguments...)
}
