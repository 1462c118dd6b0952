package flow

import (
	"bytes"
	"encoding/json"
	"strings"
)

// networkUsers are the attributes of a VM template whose NETWORK_ID may name one
// of the service's networks.
var networkUsers = []string{"NIC", "NIC_ALIAS", "PCI"}

// fillNetworks replaces $Name in a role's NICs by the id of the service's
// network of that name, in the document too, as recorded. A name that the
// service does not know stays, and is refused by oned.
func (p *planner) fillNetworks(role *Role) {
	if !bytes.Contains(role.TemplateContents, []byte(`"$`)) {
		return
	}
	ids := p.networkIDs()
	contents := attributesOf(role.TemplateContents)
	changed := false
	for name, value := range contents {
		if !isNetworkUser(name) {
			continue
		}
		filled, changes := fillNICs(value, ids)
		contents[name] = filled
		changed = changed || changes
	}
	if changed {
		role.TemplateContents = contents.text()
	}
}

func isNetworkUser(name string) bool {
	for _, user := range networkUsers {
		if strings.EqualFold(user, name) {
			return true
		}
	}
	return false
}

// networkIDs are the ids of all the service's networks, by name, as networks_values has them: as a text where a
// user gave it so, as OneFlow answers.
func (p *planner) networkIDs() map[string]json.RawMessage {
	ids := map[string]json.RawMessage{}
	values, err := readNetworkValues(p.Service.Body.NetworksValues, true)
	if err != nil {
		return ids
	}
	for _, value := range values {
		for name, choice := range value {
			if _, known := wholeOf(choice["id"]); known {
				ids[name] = choice["id"]
			}
		}
	}
	return ids
}

// fillNICs fills one NIC or several; it reports whether anything was replaced.
func fillNICs(value json.RawMessage, ids map[string]json.RawMessage) (json.RawMessage, bool) {
	switch kindOf(value) {
	case kindArray:
		elements, changed := elementsOf(value), false
		for i := range elements {
			filled, changes := fillNICs(elements[i], ids)
			elements[i], changed = filled, changed || changes
		}
		return mustMarshal(elements), changed
	case kindObject:
		nic := attributesOf(value)
		name, isReference := strings.CutPrefix(textOf(nic["NETWORK_ID"]), "$")
		if id, known := ids[name]; isReference && known {
			nic["NETWORK_ID"] = id
			return nic.text(), true
		}
	}
	return value, false
}
