package terminal

import (
	"fmt"
	"strings"

	"github.com/flowjet/flowjet/flow"
)

// What says in a few words what has changed.
func What(change flow.Change) string {
	text := change.New
	if change.Old != "" {
		text = change.Old + " -> " + change.New
	}
	switch change.Kind {
	case "role":
		text = "role " + change.Role + ": " + text
	case "network":
		text = "network " + change.Network + ": " + text
	case "router":
		text = "virtual router of role " + change.Role + " " + change.New
	case "vm":
		text = "VM " + change.New
		if change.VM != nil {
			text = fmt.Sprintf("VM %d %s (role %s)", *change.VM, change.New, change.Role)
		}
	}
	if change.Reason != "" && change.Kind != "network" {
		text += " (" + change.Reason + ")"
	}
	return text
}

// Change is What with times in the form of all others and the new state coloured.
func (c *Console) Change(change flow.Change) string {
	text := c.Timed(What(change))
	if change.Kind != "service" && change.Kind != "role" {
		return text
	}
	return strings.Replace(text, change.New, c.State(change.New), 1)
}
