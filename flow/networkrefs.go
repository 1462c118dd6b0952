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
