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

// Instantiate makes a service's body from a template's as oned holds it, which
// may be in the form of OneFlow 6, and from what the user gave for instantiating it (a
// JSON object merged over the template; empty for nothing). The service and its roles are
// PENDING. The error is a Violations or a *SyntaxError.
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
	checkChosen(found, networks, chosen)
	chooseNetworks(found, &body)
	imagined := body
	imagined.Roles = slices.Clone(body.Roles)
	if len(found.violations) == 0 && !render.FillAll(&imagined, func(*spec.Role) {}) {
		found.add("user_inputs_values", "are put into each role's template_contents, which then have more than %d bytes together; use shorter values, or fewer roles", spec.MaxBody)
	}
	if err := found.err(); err != nil {
		return spec.Body{}, err
	}
	start(&body, now)
	return body, nil
}

// start gives the body what makes it a service's.
func start(body *spec.Body, now time.Time) {
	body.State = new(spec.ServicePending)
	body.StartTime = now.Unix()
	for i := range body.Roles {
		body.Roles[i].State = new(spec.RolePending)
	}
}

// upgradeForMerge brings both sides of a merge to the same names. What is wrong
// with them is found when the result is read.
func upgradeForMerge(whole raw.Object) {
	if !mentionsOldRoles(whole) {
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
	foldInputsOf6(given, old)
	if bytes.Contains(given["roles"], []byte(`"custom_attrs`)) && raw.KindOf(given["roles"]) == raw.KindArray {
		roles := raw.Elements(given["roles"])
		for i := range roles {
			if role := raw.Attributes(roles[i]); role != nil {
				foldInputsOf6(role, old)
				roles[i] = role.JSON()
			}
		}
		given["roles"] = raw.Marshal(roles)
	}
	upgradeForMerge(given)
}

func foldInputsOf6(given raw.Object, old bool) {
	foldInto(given, "custom_attrs_values", "user_inputs_values")
	if old {
		foldInto(given, "custom_attrs", "user_inputs")
	}
}

// checkChosen holds that who chooses networks chooses all of the template's: who chooses none gets what it proposes.
func checkChosen(f *findings, networks, chosen json.RawMessage) {
	if raw.KindOf(chosen) != raw.KindArray {
		return
	}
	names := networkNames(spec.Body{NetworksValues: chosen})
	missing := slices.DeleteFunc(networkNames(spec.Body{Networks: networks}), func(name string) bool { return slices.Contains(names, name) })
	if len(missing) > 0 {
		f.add("networks_values", "lacks %s; name every network, or omit networks_values to use those that the template proposes", strings.Join(missing, ", "))
	}
}

// chooseNetworks writes what the template proposes into networks_values for
// each network for which the user chose nothing.
func chooseNetworks(f *findings, body *spec.Body) {
	var networks map[string]string
	if json.Unmarshal(body.Networks, &networks) != nil {
		return
	}
	values, err := spec.ReadNetworkValues(body.NetworksValues, false)
	if err != nil {
		return
	}
	chosen := networkNames(spec.Body{NetworksValues: body.NetworksValues})
	var unchosen []string
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if slices.Contains(chosen, name) {
			continue
		}
		value, mandatory := proposal(networks[name])
		if value == nil {
			if mandatory {
				f.add("networks."+name, "is mandatory and proposes no network; choose one in networks_values")
			} else {
				unchosen = append(unchosen, name)
			}
			continue
		}
		values = append(values, spec.NetworkValue{name: value})
	}
	if len(values) > 0 {
		body.NetworksValues = raw.Marshal(values)
	}
	checkReservations(f, values)
	checkUnchosen(f, *body, unchosen)
}

// proposal is what a network's description proposes, nil if it proposes
// nothing, and whether a network has to be had.
func proposal(description string) (value raw.Object, mandatory bool) {
	parts := networkPattern.FindStringSubmatch(strings.TrimSpace(description))
	mandatory = strings.HasPrefix(strings.TrimSpace(description), "M|")
	if parts == nil || parts[2] == "" {
		return nil, mandatory
	}
	value = raw.Object{parts[1]: raw.Marshal(parts[2])}
	if extra := strings.TrimPrefix(parts[3], ":"); strings.TrimSpace(extra) != "" {
		value["extra"] = raw.Marshal(extra)
	}
	return value, mandatory
}
