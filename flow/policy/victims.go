package policy

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// The orders in which a role that scales down loses VMs, which its attribute "victims"
// names. In each of them VMs in trouble come first, then those that have not come up.
const (
	victimsOldest   = "oldest"
	VictimsNewest   = "newest"
	VictimsNotReady = "not_ready"
)

var victimOrders = []string{victimsOldest, VictimsNewest, VictimsNotReady}

// VictimOrder is the role's order; the oldest first where it names none that can be used.
func VictimOrder(role *spec.Role) string {
	if order := raw.Text(role.Victims); slices.Contains(victimOrders, order) {
		return order
	}
	return victimsOldest
}

// CheckVictims returns what is wrong with a role's attribute victims, empty if nothing is.
func CheckVictims(text json.RawMessage) string {
	if len(text) > 0 && !slices.Contains(victimOrders, raw.Text(text)) {
		return fmt.Sprintf("is %s; it can be %s", raw.Short(text), raw.Choices(victimOrders))
	}
	return ""
}
