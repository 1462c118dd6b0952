package flow

import (
	"encoding/json"
	"fmt"
	"slices"
)

// The orders in which a role that scales down loses VMs, which its attribute "victims"
// names. In each of them VMs in trouble come first, then those that have not come up.
const (
	victimsOldest   = "oldest"
	victimsNewest   = "newest"
	victimsNotReady = "not_ready"
)

var victimOrders = []string{victimsOldest, victimsNewest, victimsNotReady}

// victimOrder is the role's order; the oldest first where it names none that can be used.
func victimOrder(role *Role) string {
	if order := textOf(role.Victims); slices.Contains(victimOrders, order) {
		return order
	}
	return victimsOldest
}

// checkVictims returns what is wrong with a role's attribute victims, empty if nothing is.
func checkVictims(text json.RawMessage) string {
	if len(text) > 0 && !slices.Contains(victimOrders, textOf(text)) {
		return fmt.Sprintf("is %s; it can be %s", short(text), choices(victimOrders))
	}
	return ""
}
