package template

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// networkPattern is how a service asks for a network: "M|network|Public network| |id:0". The last field may be left
// open, to be chosen when the service is instantiated.
var networkPattern = regexp.MustCompile(`^[MO]\|network\|[^|]*\|[^|]*\|\s*(?:(id|template_id|reserve_from):(\d*)(.*))?$`)

// checkNetworks holds the shapes of networks and networks_values.
func checkNetworks(f *findings, body spec.Body) {
	var networks map[string]string
	if len(body.Networks) > 0 && json.Unmarshal(body.Networks, &networks) != nil {
		f.add("networks", "must be an object of strings such as {\"Public\": \"M|network|Public| |id:0\"}")
	}
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if !networkPattern.MatchString(strings.TrimSpace(networks[name])) {
			f.add("networks."+name, "is %q; it must look like \"M|network|description| |id:0\", with id, template_id or reserve_from last", raw.Shown(networks[name]))
		}
		if err := spec.CheckAddresses(networks[name]); err != nil {
			f.add("networks."+name, "%v", err)
		}
		if proposed, _ := proposal(networks[name]); proposed != nil {
			if wrong := spec.WrongNetworkName(name, proposed); wrong != "" {
				f.add("networks", "%s", wrong)
			}
			if err := one.CheckTemplate(raw.Text(proposed["extra"])); err != nil {
				f.add("networks."+name, "%v", err)
			}
		}
	}
	if _, err := spec.ReadNetworkValues(body.NetworksValues, body.State != nil); err != nil {
		f.add("networks_values", "%v", err)
	}
}

// chooseNetworks writes what the template proposes into networks_values for
// each network for which the user chose nothing. Who chooses networks chooses all of the
// template's; who reserves addresses asks for a number of them, for oned takes none for granted.
func chooseNetworks(f *findings, body *spec.Body, proposed, given json.RawMessage) {
	if raw.KindOf(given) == raw.KindArray {
		names := networkNames(spec.Body{NetworksValues: given})
		missing := slices.DeleteFunc(networkNames(spec.Body{Networks: proposed}), func(name string) bool { return slices.Contains(names, name) })
		if len(missing) > 0 {
			f.add("networks_values", "lacks %s; name every network, or omit networks_values to use those that the template proposes", strings.Join(missing, ", "))
		}
	}
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
		switch {
		case value != nil:
			values = append(values, spec.NetworkValue{name: value})
		case mandatory:
			f.add("networks."+name, "is mandatory and proposes no network; choose one in networks_values")
		default:
			unchosen = append(unchosen, name)
		}
	}
	if len(values) > 0 {
		body.NetworksValues = raw.Marshal(values)
	}
	for _, value := range values {
		for name, choice := range value {
			if _, reserves := choice[string(spec.FromReservation)]; reserves && !spec.AsksForAddresses(raw.Text(choice["extra"])) {
				f.add("networks_values", "reserves no addresses for network %q: its \"extra\" must have a SIZE such as SIZE=2", name)
			}
		}
	}
	checkUnchosen(f, *body, unchosen)
}

// checkUnchosen holds that no role uses a network that nobody has chosen.
func checkUnchosen(f *findings, body spec.Body, unchosen []string) {
	if len(unchosen) == 0 {
		return
	}
	inputs := spec.InputNames(body.Extra, body.UserInputs, body.UserInputsValues)
	for i, role := range body.Roles {
		own := slices.Concat(inputs, spec.InputNames(role.Extra, role.UserInputs, role.UserInputsValues))
		for _, used := range usedNetworks(raw.Attributes(role.TemplateContents)) {
			if name, isReference := used.reference(); isReference && slices.Contains(unchosen, name) && !slices.Contains(own, name) {
				f.add(rolePathOf(i, "template_contents"), "%s needs the network %s, which is not chosen: choose it in networks_values", used.attribute, raw.Shown(used.id))
			}
		}
	}
}

// proposal is what a network's description proposes, nil if it proposes nothing, and whether a network has to be had.
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
