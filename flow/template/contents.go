package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
)

// The names of attributes that oned 7.4 accepts: letters, digits and _; it drops other characters before or behind them. Within a vector a
// name cannot begin with a digit.
var (
	attributeName = regexp.MustCompile(`^[^\w\s="\[\],#]*\w+[^\w\s="\[\],#]*$`)
	innerName     = regexp.MustCompile(`^[^\w\s="\[\],#]*[A-Za-z_]\w*[^\w\s="\[\],#]*$`)
	// inputName matches the name of a user input, which becomes an attribute, one of CONTEXT, and $NAME.
	inputName = regexp.MustCompile(`^[A-Za-z_]\w*$`)
)

// contentsRule finds the parts of roles' template_contents that oned would refuse.
type contentsRule struct {
	*findings
	// declared are the names to which all roles may refer, and networks those of networks.
	declared map[string]bool
	networks []string
	open     bool
}

func networkNames(body spec.Body) []string {
	names := slices.Collect(maps.Keys(raw.Attributes(body.Networks)))
	for _, element := range raw.Elements(body.NetworksValues) {
		names = slices.AppendSeq(names, maps.Keys(raw.Attributes(element)))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (c contentsRule) check(path string, role spec.Role) {
	path += ".template_contents"
	contents := raw.Attributes(role.TemplateContents)
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		if wrong := wrongAttribute(name, contents[name]); wrong != "" {
			c.addWrong(path, wrong)
			return
		}
	}
	if wrong := render.Check(contents, &role); wrong != "" {
		c.addWrong(path, wrong)
		return
	}
	known := `: there are no "networks"`
	if len(c.networks) > 0 {
		known = `; "networks" has ` + raw.Shown(raw.Listed(c.networks))
	}
	own := role.Inputs().Names()
	for _, used := range usedNetworks(contents) {
		if name, isReference := used.reference(); isReference && !c.open && !c.declared[name] && !slices.Contains(own, name) {
			c.add(path, "%s refers to the network %s, which is not declared%s", used.attribute, raw.Shown(used.id), known)
		} else if !isReference && !networkIDPattern.MatchString(used.id) {
			c.add(path, "the NETWORK_ID of %s must be a network's id, or $NAME of one of \"networks\"", used.attribute)
		}
	}
}

// networkIDPattern matches what oned reads as an id, and a value of a parent's VM.
var networkIDPattern = regexp.MustCompile(`^(\+?\d|\$\{[^}]*\.|$)`)

// networkUse is a NIC's reference to a network, by its id or as $NAME.
type networkUse struct{ attribute, id string }

// reference returns the name in $NAME. ${Parent.path} is a value of a parent's VM.
func (u networkUse) reference() (name string, isReference bool) {
	name, isReference = strings.CutPrefix(u.id, "$")
	return name, isReference && !strings.HasPrefix(name, "{")
}

func usedNetworks(contents raw.Object) []networkUse {
	var uses []networkUse
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		if !render.IsNetworkUser(name) {
			continue
		}
		for _, nic := range raw.List(contents[name]) {
			if id, has := raw.Attributes(nic)["NETWORK_ID"]; has {
				uses = append(uses, networkUse{attribute: name, id: strings.TrimSpace(raw.Plain(id))})
			}
		}
	}
	return uses
}

// wrongAttribute returns what oned cannot read of an attribute, empty if it reads all. It never shows the value, which may be a secret.
func wrongAttribute(name string, value json.RawMessage) string {
	if !attributeName.MatchString(name) {
		return fmt.Sprintf("the attribute %q is not possible in OpenNebula: a name can have letters, digits and _", raw.Shown(name))
	}
	for _, one := range raw.List(value) {
		inner := raw.Attributes(one)
		for _, key := range slices.Sorted(maps.Keys(inner)) {
			if !innerName.MatchString(key) {
				return fmt.Sprintf("the attribute %q in %s is not possible in OpenNebula: a name can have letters, digits and _, and cannot begin with a digit", raw.Shown(key), name)
			}
			if wrong := wrongText(inner[key]); wrong != "" {
				return fmt.Sprintf("the attribute %s in %s %s", key, name, wrong)
			}
		}
		if wrong := wrongText(one); inner == nil && wrong != "" {
			return fmt.Sprintf("the attribute %s %s", name, wrong)
		}
	}
	return ""
}

// wrongText returns what oned cannot store of a value.
func wrongText(value json.RawMessage) string { return one.Unstorable(raw.Plain(value)) }

// checkInputs checks the names and values of user inputs, which become attributes of VMs.
func checkInputs(f *findings, path string, declared, values json.RawMessage) {
	inputs, given := raw.Attributes(declared), raw.Attributes(values)
	const wrongName = "has the name %q; a user input's has letters, digits and _ only, and does not begin with a digit"
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		if !inputName.MatchString(name) {
			f.add(path+"user_inputs", wrongName, raw.Shown(name))
			return
		}
		if wrong := one.Unstorable(spec.ParseInput(inputs[name]).Value()); wrong != "" {
			f.add(path+"user_inputs", "the default of %s %s", name, wrong)
			return
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !inputName.MatchString(name) {
			f.add(path+"user_inputs_values", wrongName, raw.Shown(name))
			return
		}
		if wrong := wrongText(given[name]); wrong != "" {
			f.add(path+"user_inputs_values", "the value of %s %s", name, wrong)
			return
		}
	}
}

// networkPattern matches a service's declaration of a network: "M|network|Public network| |id:0". The last field may be left open, to be
// chosen when the service is instantiated: Sunstone's form then writes undefined or null for what was not filled in.
var networkPattern = regexp.MustCompile(`^[MO]\|network\|[^|]*\|[^|]*\|\s*(?:(id|template_id|reserve_from):(\d*)(.*)|(?:undefined|null):.*)?$`)

func checkNetworks(f *findings, body spec.Body) {
	var networks raw.Object
	if len(body.Networks) > 0 && json.Unmarshal(body.Networks, &networks) != nil {
		f.add("networks", "must be an object of strings such as {\"Public\": \"M|network|Public| |id:0\"}")
	}
	chosen := networkNames(spec.Body{NetworksValues: body.NetworksValues})
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		declared := raw.Plain(networks[name])
		// A declaration only gives the default: templates that OneFlow has stored with an invalid one can be used by choosing the network.
		if !networkPattern.MatchString(strings.TrimSpace(declared)) && !slices.Contains(chosen, name) {
			f.add("networks."+name, "is %q; it must look like \"M|network|description| |id:0\", with id, template_id or reserve_from last", raw.Shown(declared))
		}
		if err := spec.CheckAddresses(declared); err != nil {
			f.add("networks."+name, "%v", err)
		}
		if proposed, _ := proposal(declared); proposed != nil {
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

// chooseNetworks writes the template's proposals into networks_values for each network for which the user chose nothing. A user who chooses
// networks chooses all of the template's; who reserves addresses gives a number of them, for oned has no default.
func chooseNetworks(f *findings, body *spec.Body, proposed, given json.RawMessage) {
	if raw.KindOf(given) == raw.KindArray {
		names := networkNames(spec.Body{NetworksValues: given})
		missing := slices.DeleteFunc(networkNames(spec.Body{Networks: proposed}), func(name string) bool { return slices.Contains(names, name) })
		if len(missing) > 0 {
			f.add("networks_values", "lacks %s; name every network, or omit networks_values to use those that the template proposes", strings.Join(missing, ", "))
		}
	}
	var networks raw.Object
	if json.Unmarshal(body.Networks, &networks) != nil {
		return
	}
	values, err := spec.ReadNetworkValues(body.NetworksValues, false)
	if err != nil {
		return
	}
	chosen := networkNames(spec.Body{NetworksValues: raw.Marshal(values)})
	for _, name := range networkNames(spec.Body{NetworksValues: given}) {
		if !slices.Contains(chosen, name) {
			f.add("networks_values", "must have one of id, template_id and reserve_from for network %q", name)
		}
	}
	var unchosen []string
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if slices.Contains(chosen, name) {
			continue
		}
		value, mandatory := proposal(raw.Plain(networks[name]))
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
			if _, reserves := choice[string(spec.FromReservation)]; reserves && spec.JoinsNetwork(raw.Text(choice["extra"])) {
				f.add("networks_values", "has NETWORK_ID in the \"extra\" of network %q: a service reserves a network of its own; give the id of an existing one as id", name)
			}
			_, mandatory := proposal(raw.Plain(networks[name]))
			source, text := chosenID(choice)
			switch id, isNumber := raw.Whole(text); {
			case isNumber && id >= 0:
			case !mandatory && raw.Plain(text) == "": // an empty field of a form
				unchosen = append(unchosen, name)
			default:
				f.add("networks_values", "must have a whole number, 0 or more, as %s of network %q", source, name)
			}
		}
	}
	checkUnchosen(f, *body, unchosen)
}

func chosenID(choice raw.Object) (source string, id json.RawMessage) {
	for _, source = range []string{"id", string(spec.FromTemplate), string(spec.FromReservation)} {
		if id, has := choice[source]; has {
			return source, id
		}
	}
	return "id", nil
}

// checkUnchosen checks that no role uses a network that was not chosen.
func checkUnchosen(f *findings, body spec.Body, unchosen []string) {
	if len(unchosen) == 0 {
		return
	}
	inputs := body.Inputs().Names()
	for i, role := range body.Roles {
		own := slices.Concat(inputs, role.Inputs().Names())
		for _, used := range usedNetworks(raw.Attributes(role.TemplateContents)) {
			if name, isReference := used.reference(); isReference && slices.Contains(unchosen, name) && !slices.Contains(own, name) {
				f.add(rolePathOf(i, "template_contents"), "%s needs the network %s, which is not chosen: choose it in networks_values", used.attribute, raw.Shown(used.id))
			}
		}
	}
}

// proposal returns the network that a description proposes, nil if none, and whether a network is mandatory.
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
