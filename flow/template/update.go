package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// fixedAttributes cannot be changed while a service lives: they have been carried out, or only the engine sets them.
var fixedAttributes = []string{
	"name", "deployment", "ready_status_gate", "networks", "networks_values", "user_inputs", "user_inputs_values",
	"custom_attrs", "custom_attrs_values", "state", "log", "start_time", "registration_time",
}

// fixedRoleAttributes are the same for a role; cardinality is changed by scaling.
var fixedRoleAttributes = []string{
	"type", "cardinality", "parents", "state", "nodes", "last_vmname", "scale_way", "vrouter_id", "vrouter_ips",
}

// Update returns a service's body with an update applied. If it replaces, changeable attributes that are not in it are removed; the others
// are kept. A mistake that was there before the update is no reason to refuse it.
func Update(held spec.Body, text json.RawMessage, appendTo bool) (spec.Body, error) {
	if raw.KindOf(text) == raw.KindText {
		text = json.RawMessage(raw.Text(text))
	}
	given, err := readObject(text)
	if err != nil {
		return spec.Body{}, err
	}
	for _, name := range []string{"name", "roles"} {
		if raw.KindOf(given[name]) == raw.KindNull && !appendTo {
			return spec.Body{}, fmt.Errorf("%q is missing: send the whole service, or the changes alone with append", name)
		}
	}
	old := raw.Attributes(raw.Marshal(held))
	if found := checkCounts(given); found != nil {
		before := append(checkCounts(old), checkCounts(asGiven(old, given["roles"]))...)
		if found = slices.DeleteFunc(found, func(v Violation) bool { return slices.Contains(before, v) }); len(found) > 0 {
			return spec.Body{}, found
		}
	}
	changed, err := overlay(old, given, fixedAttributes, appendTo)
	if err != nil {
		return spec.Body{}, err
	}
	if changed["roles"], err = updatedRoles(old["roles"], given["roles"], appendTo); err != nil {
		return spec.Body{}, err
	}
	found := newFindings(spec.RoleNames(held.Roles))
	convert(found, "", changed, bodyRules)
	changed["roles"] = raw.Changed(changed["roles"], func(i int, role raw.Object) bool {
		path := fmt.Sprintf("roles[%d].", i)
		convert(found, path, role, roleRules)
		convertPolicies(found, path, role)
		return true
	})
	if err := found.err(); err != nil {
		return spec.Body{}, err
	}
	body, err := spec.ParseBody(changed.JSON())
	if err != nil {
		return spec.Body{}, err
	}
	before := Validate(held)
	found.addOthers(slices.DeleteFunc(Validate(body), func(v Violation) bool { return slices.Contains(before, v) }))
	return body, found.err()
}

// asGiven returns a body with its roles in the order of given, so that a mistake in both has the same path. If given has more roles, it
// returns held unchanged.
func asGiven(held raw.Object, given json.RawMessage) raw.Object {
	byName := map[string]raw.Object{}
	for _, role := range raw.Objects(held["roles"]) {
		byName[roleKey(role)] = role
	}
	roles := raw.Objects(given)
	if len(roles) > len(byName) {
		return held
	}
	for i, role := range roles {
		roles[i] = byName[roleKey(role)]
	}
	ordered := maps.Clone(held)
	ordered["roles"] = raw.Marshal(roles)
	return ordered
}

// overlay lays given over old: fixed attributes may be repeated but not changed.
func overlay(old, given raw.Object, fixed []string, appendTo bool) (raw.Object, error) {
	result := raw.Object{}
	for name, value := range old {
		if _, again := given[name]; appendTo || again || slices.Contains(fixed, name) {
			result[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) { // so that the refused one of several is always the same
		value := given[name]
		if slices.Contains(fixed, name) {
			// Numbers are the same when they are written as texts, too.
			if was := old[name]; len(was) == 0 || !raw.Equal(was, value) && raw.Plain(was) != raw.Plain(value) {
				return nil, &ImmutableError{Attribute: name, Live: true}
			}
			continue
		}
		result[name] = value
	}
	return result, nil
}

// updatedRoles updates each role by its name. It neither adds nor removes roles: that is done by commands of their own.
func updatedRoles(old, given json.RawMessage, appendTo bool) (json.RawMessage, error) {
	if len(given) == 0 {
		return old, nil
	}
	if raw.KindOf(given) != raw.KindArray {
		return nil, fmt.Errorf("\"roles\" is %s; it must be an array", raw.KindOf(given))
	}
	changes := map[string]raw.Object{}
	for _, element := range raw.Elements(given) {
		change := raw.Attributes(element)
		changes[roleKey(change)] = change
	}
	roles := raw.Elements(old)
	for i := range roles {
		held := raw.Attributes(roles[i])
		name := roleKey(held)
		change, has := changes[name]
		if !has && !appendTo {
			return nil, &ImmutableError{Attribute: "roles", Live: true, Instead: fmt.Sprintf("role %s is missing: roles are removed with remove_role", name)}
		}
		delete(changes, name)
		role, err := overlay(held, change, fixedRoleAttributes, appendTo)
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", name, err)
		}
		if has {
			roles[i] = role.JSON()
		}
	}
	if len(changes) > 0 {
		unknown := strings.Join(slices.Sorted(maps.Keys(changes)), ", ")
		return nil, &ImmutableError{Attribute: "roles", Live: true, Instead: fmt.Sprintf("the service has no role %q: roles are added with add_role", unknown)}
	}
	return raw.Marshal(roles), nil
}

// ReadRole reads a role as clients write it, as an object or as a text that holds one, and checks it against the service to which it is
// added.
func ReadRole(text json.RawMessage, held spec.Body, now time.Time) (spec.Role, error) {
	if raw.KindOf(text) == raw.KindText {
		text = json.RawMessage(raw.Text(text))
	}
	given, err := readObject(text)
	if err != nil {
		return spec.Role{}, err
	}
	name := raw.Text(given["name"])
	roles := []json.RawMessage{given.JSON()}
	for _, other := range held.Roles {
		if other.Name != name {
			roles = append(roles, raw.Marshal(map[string]any{"name": other.Name, "type": spec.RoleTypeVM, "template_id": 0}))
		}
	}
	declared := slices.Concat(networkNames(held), held.Inputs().Names())
	whole := raw.Object{"name": json.RawMessage(`"service"`), "roles": raw.Marshal(roles)}
	if wrong := ofNewRole(checkCounts(whole)); len(wrong) > 0 {
		return spec.Role{}, wrong
	}
	body, found := normalise(whole, now)
	found.addOthers(validate(body, declared, false))
	if wrong := ofNewRole(found.violations); len(wrong) > 0 {
		return spec.Role{}, wrong
	}
	_ = chooseInputs(&body) // inputs without a value are not required here, as with OneFlow
	return body.Roles[0], nil
}

// ofNewRole returns what is wrong with the first role, as if it were alone: role.type, and not roles[0].type. Mistakes in the others, such
// as a name that an older version allowed, are the service's already. If they fill the whole list it is returned unchanged: a mistake in
// the first role may not have got into it.
func ofNewRole(all Violations) (own Violations) {
	const alone, first = "role", "roles[0]"
	for _, violation := range all {
		if rest, found := strings.CutPrefix(violation.Path, first); found {
			own = append(own, Violation{Path: alone + rest, Message: strings.Replace(violation.Message, first, alone, 1)})
		} else if !strings.HasPrefix(violation.Path, "roles[") {
			own = append(own, violation)
		}
	}
	if len(own) == 0 && len(all) == maxViolations {
		return all
	}
	return own
}

// Attributes that are in no field but read all the same: Flowjet's own, and OneFlow 6's.
var (
	bodyExtras = []string{spec.WebhooksAttribute, spec.CommandAttribute, spec.ExpandAttribute, "custom_attrs", "custom_attrs_values"}
	roleExtras = []string{spec.ExpandAttribute, "vm_template", "vm_template_contents", "custom_attrs", "custom_attrs_values"}
	policyKeys = []string{
		"type", "adjust", "min_adjust_step", "last_eval", "expression", "period", "period_number", "true_evals", "expression_evaluated",
		"recurrence", "start_time", "cooldown",
	}
)

// maxMeant bounds the number of attributes for which the intended name is guessed, and the length of their names.
const maxMeant = 100

// IgnoredAttribute is an attribute of a document that is not read.
type IgnoredAttribute struct {
	// Path is its path, such as roles[web].shutdown, and Meant is the name that was perhaps intended.
	Role, Path, Meant string
}

// Ignored returns the attributes of a body that neither Flowjet nor OneFlow reads. They are kept; most likely they are misspelt, or a
// client writes them for itself.
func Ignored(body spec.Body) []IgnoredAttribute {
	var found []IgnoredAttribute
	add := func(role, where string, given map[string]json.RawMessage, known []string) {
		for _, name := range slices.Sorted(maps.Keys(given)) {
			if slices.Contains(known, name) {
				continue
			}
			one := IgnoredAttribute{Role: role, Path: where + raw.Shown(name)}
			if len(found) < maxMeant { // others are only counted
				one.Meant = nearest(name, known)
			}
			found = append(found, one)
		}
	}
	add("", "", body.Extra, append(bodyExtras, namesOf(body)...))
	for _, role := range body.Roles {
		where := "roles[" + role.Name + "]."
		add(role.Name, where, role.Extra, append(roleExtras, namesOf(role)...))
		for i, policy := range raw.Elements(role.ElasticityPolicies) {
			add(role.Name, fmt.Sprintf("%selasticity_policies[%d].", where, i), raw.Attributes(policy), policyKeys)
		}
		for i, policy := range raw.Elements(role.ScheduledPolicies) {
			add(role.Name, fmt.Sprintf("%sscheduled_policies[%d].", where, i), raw.Attributes(policy), policyKeys)
		}
	}
	return found
}

// namesOf returns the attributes for which a struct has a field.
func namesOf(known any) []string {
	var names []string
	for _, field := range reflect.VisibleFields(reflect.TypeOf(known)) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// nearest returns the name that was perhaps intended; empty if none is near.
func nearest(given string, known []string) string {
	if len(given) > maxMeant {
		return ""
	}
	best, least := "", len(given)/3+1
	for _, name := range slices.Sorted(slices.Values(known)) {
		distance := levenshtein.ComputeDistance(strings.ToLower(given), name)
		if strings.HasPrefix(name, given+"_") || strings.HasSuffix(name, "_"+given) {
			distance = 0
		}
		if distance < least {
			best, least = name, distance
		}
	}
	return best
}

// DroppedExtensions returns the attributes that only Flowjet knows and that a template loses by its replacement: forms of OneFlow's clients
// leave out unknown attributes.
func DroppedExtensions(held []byte, replacement spec.Body) []string {
	old, err := spec.ParseBody(held)
	if err != nil {
		return nil
	}
	var dropped []string
	note := func(name string, was, now []byte) {
		if len(was) > 0 && len(now) == 0 {
			dropped = append(dropped, name)
		}
	}
	for _, name := range []string{spec.ExpandAttribute, spec.WebhooksAttribute} {
		note(name, old.Extra[name], replacement.Extra[name])
	}
	note("deadlines", old.Deadlines, replacement.Deadlines)
	service := spec.Service{Body: replacement}
	for _, role := range old.Roles {
		if now := service.Role(role.Name); now != nil {
			note("heal of role "+role.Name, role.Heal, now.Heal)
			note("deadlines of role "+role.Name, role.Deadlines, now.Deadlines)
			note("victims of role "+role.Name, role.Victims, now.Victims)
			note(spec.ExpandAttribute+" of role "+role.Name, role.Extra[spec.ExpandAttribute], now.Extra[spec.ExpandAttribute])
		}
	}
	return dropped
}
