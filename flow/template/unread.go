package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// Attributes that stand in no field, and are read all the same: Flowjet's own, and OneFlow 6's.
var (
	bodyExtras = []string{spec.WebhooksAttribute, spec.CommandAttribute, spec.ExpandAttribute, "custom_attrs", "custom_attrs_values"}
	roleExtras = []string{spec.ExpandAttribute, "vm_template", "vm_template_contents", "custom_attrs", "custom_attrs_values"}
	policyKeys = []string{
		"type", "adjust", "min_adjust_step", "last_eval", "expression", "period", "period_number", "true_evals", "expression_evaluated",
		"recurrence", "start_time", "cooldown",
	}
)

// maxMeant bounds for how many attributes it is looked which was meant, and the length of their names.
const maxMeant = 100

// UnreadAttribute is an attribute of a document that nobody reads.
type UnreadAttribute struct {
	// Path is where it stands, as roles[web].shutdown, and Meant what was perhaps meant.
	Role, Path, Meant string
}

// Unread returns the attributes of a body that neither Flowjet nor OneFlow reads. They are
// kept; most likely somebody has misspelt them, or a client writes them for itself.
func Unread(body spec.Body) []UnreadAttribute {
	var found []UnreadAttribute
	add := func(role, where string, given map[string]json.RawMessage, known []string) {
		for _, name := range slices.Sorted(maps.Keys(given)) {
			if slices.Contains(known, name) {
				continue
			}
			one := UnreadAttribute{Role: role, Path: where + raw.Shown(name)}
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
		for list, text := range map[string]json.RawMessage{"elasticity_policies": role.ElasticityPolicies, "scheduled_policies": role.ScheduledPolicies} {
			if !raw.Filled(text) {
				continue
			}
			for i, policy := range raw.Elements(text) {
				add(role.Name, fmt.Sprintf("%s%s[%d].", where, list, i), raw.Attributes(policy), policyKeys)
			}
		}
	}
	return found
}

// namesOf are the attributes for which a struct has a field.
func namesOf(known any) []string {
	var names []string
	for _, field := range reflect.VisibleFields(reflect.TypeOf(known)) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// nearest is the attribute that was perhaps meant; empty if none is near.
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

// DroppedExtensions names the attributes that only Flowjet knows and that a body does not have any more which has taken the
// place of a template's: forms of OneFlow's clients leave out what they do not know.
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
