package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
)

// Instantiate makes a service's body from a template's as oned holds it, which may be in the form of OneFlow 6, and
// from what the user gave for instantiating it (a JSON object merged over the template; empty for nothing). The service
// and its roles are PENDING. The error is a Violations or a *SyntaxError.
func Instantiate(template []byte, given json.RawMessage, now time.Time) (spec.Body, error) {
	whole, err := readObject(template)
	if err != nil {
		return spec.Body{}, fmt.Errorf("read the template: %w", err)
	}
	registered, old := registrationTime(whole, now), isOld(whole)
	var chosen, networks json.RawMessage
	if len(given) > 0 && raw.KindOf(given) != raw.KindNull {
		merge, err := readObject(given)
		if err != nil {
			return spec.Body{}, fmt.Errorf("read merge_template: %w", err)
		}
		if found := append(checkCounts(whole), checkCounts(merge)...); len(found) > 0 {
			return spec.Body{}, found
		}
		if found := checkGivenRoles(whole["roles"], merge["roles"]); found != nil {
			return spec.Body{}, found
		}
		chosen, networks = merge["networks_values"], whole["networks"]
		upgradeForMerge(whole)
		upgradeGiven(merge, old)
		mergeTemplates(whole, merge)
	}
	if found := checkCounts(whole); found != nil {
		return spec.Body{}, found
	}
	body, found := normalise(whole, registered)
	found.addOthers(Validate(body))
	if lacking := chooseInputs(&body); !old { // OneFlow 7 does not ask for what OneFlow 6 called custom_attrs
		found.addOthers(lacking)
	}
	chooseNetworks(found, &body, networks, chosen)
	imagined := body
	imagined.Roles = slices.Clone(body.Roles)
	if len(found.violations) == 0 && !render.FillAll(&imagined, func(*spec.Role) {}) {
		found.add("user_inputs_values", "are put into each role's template_contents, which then have more than %d bytes together; use shorter values, or fewer roles", spec.MaxBody)
	}
	if err := found.err(); err != nil {
		return spec.Body{}, err
	}
	body.State = new(spec.ServicePending)
	body.StartTime = now.Unix()
	for role := range body.EachRole() {
		role.State = new(spec.RolePending)
	}
	return body, nil
}

// upgradeForMerge brings both sides of a merge to the same names. What is wrong
// with them is found when the result is read.
func upgradeForMerge(whole raw.Object) {
	if !bytes.Contains(whole["roles"], []byte(`"vm_template`)) {
		return
	}
	upgradeBody(whole)
	var roles []raw.Object
	if json.Unmarshal(whole["roles"], &roles) != nil || roles == nil {
		return
	}
	for _, role := range roles {
		if kept := maps.Clone(role); upgradeRole(role) != nil {
			maps.Copy(role, kept)
		}
	}
	whole["roles"] = raw.Marshal(roles)
}

// upgradeGiven is upgradeForMerge for what is given for instantiating: values of custom_attrs are those of user inputs
// whatever form the template has.
func upgradeGiven(given raw.Object, old bool) {
	foldInputs := func(given raw.Object) {
		foldInto(given, "custom_attrs_values", "user_inputs_values")
		if old {
			foldInto(given, "custom_attrs", "user_inputs")
		}
	}
	foldInputs(given)
	if bytes.Contains(given["roles"], []byte(`"custom_attrs`)) && raw.KindOf(given["roles"]) == raw.KindArray {
		roles := raw.Elements(given["roles"])
		for i := range roles {
			if role := raw.Attributes(roles[i]); role != nil {
				foldInputs(role)
				roles[i] = role.JSON()
			}
		}
		given["roles"] = raw.Marshal(roles)
	}
	upgradeForMerge(given)
}

// chooseInputs gives optional inputs without a value their defaults, and returns which others have none.
func chooseInputs(body *spec.Body) Violations {
	f := newFindings(spec.RoleNames(body.Roles))
	body.UserInputsValues = chooseInputsOf(f, "", body.UserInputs, body.UserInputsValues)
	for i := range body.Roles {
		role := &body.Roles[i]
		role.UserInputsValues = chooseInputsOf(f, fmt.Sprintf("roles[%d].", i), role.UserInputs, role.UserInputsValues)
	}
	return f.violations
}

// chooseInputsOf returns the values with the defaults among them.
func chooseInputsOf(f *findings, path string, declared, values json.RawMessage) json.RawMessage {
	inputs, given := raw.Attributes(declared), raw.Attributes(values)
	var missing []string
	changed := false
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		if raw.KindOf(given[name]) != raw.KindNull {
			continue
		}
		input := spec.ParseInput(inputs[name])
		switch {
		case !input.Optional:
			missing = append(missing, name)
		case input.Initial != "":
			if given == nil {
				given = raw.Object{}
			}
			given[name], changed = raw.Marshal(input.Value()), true
		}
	}
	if len(missing) > 0 {
		f.add(path+"user_inputs_values", "lacks a value for %s", strings.Join(missing, ", "))
	}
	if !changed {
		return values
	}
	return given.JSON()
}
