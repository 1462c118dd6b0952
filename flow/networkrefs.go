package flow

import (
	"encoding/json"
	"strings"
)

// networkUsers are the attributes of a VM template whose NETWORK_ID may name one
// of the service's networks.
var networkUsers = []string{"NIC", "NIC_ALIAS", "PCI"}

func isNetworkUser(name string) bool {
	for _, user := range networkUsers {
		if strings.EqualFold(user, name) {
			return true
		}
	}
	return false
}

// networkIDs are the ids of all networks in networks_values, by name and as they stand there: as a text where a
// user gave it so, as OneFlow answers.
func networkIDs(chosen json.RawMessage) map[string]json.RawMessage {
	ids := map[string]json.RawMessage{}
	values, err := readNetworkValues(chosen, true)
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
		name, isReference := strings.CutPrefix(strings.TrimSpace(textOf(nic["NETWORK_ID"])), "$")
		if id, known := ids[name]; isReference && known {
			nic["NETWORK_ID"] = id
			return nic.text(), true
		}
	}
	return value, false
}
