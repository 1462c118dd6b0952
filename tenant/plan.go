package tenant

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/terminal"
)

// planned is what a change would do, step by step, as the API foretells it.
type planned struct {
	Steps []struct {
		WaitsFor string          `json:"waits_for"`
		Changes  []flow.Change   `json:"changes"`
		Actions  []plannedAction `json:"actions"`
	} `json:"steps"`
	EndsIn   string `json:"ends_in"`
	Complete bool   `json:"complete"`
}

type plannedAction struct {
	Do      flow.ActionKind `json:"do"`
	Role    string          `json:"role"`
	VM      int             `json:"vm"`
	Call    string          `json:"call"`
	Name    string          `json:"name"`
	OnHold  bool            `json:"on_hold"`
	Network string          `json:"network"`
}

// showPlan writes a plan.
func showPlan(c *console, text []byte) error {
	if c.Structured() {
		return c.value(json.RawMessage(text))
	}
	var plan planned
	if err := json.Unmarshal(text, &plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	c.Say("Nothing was changed. This would be done:")
	for i, step := range plan.Steps {
		when := "at once"
		if step.WaitsFor != "" {
			when = "when " + shortened(step.WaitsFor)
		}
		c.Say("%2d  %s", i+1, terminal.Printable(when))
		for _, change := range step.Changes {
			if change.Kind == "vm" {
				continue // the step before has created or ended it
			}
			c.Say("      %s", c.Change(change))
		}
		for _, action := range step.Actions {
			c.Say("      %s", terminal.Printable(action.String()))
		}
	}
	if !plan.Complete {
		c.Say("Further steps depend on the outcome.")
		return nil
	}
	end := "it is " + c.State(plan.EndsIn)
	if plan.EndsIn == gone {
		end = "the service is gone"
	}
	c.Say("Then %s.", end)
	return nil
}

func (a plannedAction) String() string {
	vm := a.Name
	if vm == "" {
		vm = fmt.Sprintf("VM %d", a.VM)
	}
	switch a.Do {
	case flow.ActionCreateVM:
		if a.OnHold {
			return "create " + vm + " on hold"
		}
		return "create " + vm
	case flow.ActionVM:
		return a.Call + " " + vm
	case flow.ActionRecoverVM:
		return "recover " + vm
	case flow.ActionCreateNetwork:
		return "create network " + a.Network
	case flow.ActionDeleteNetwork:
		return "delete network " + a.Network
	case flow.ActionCreateRouter:
		return "create the virtual router of role " + a.Role
	case flow.ActionDeleteRouter:
		return "delete the virtual router of role " + a.Role
	case flow.ActionDeleteDocument:
		return "remove the service"
	}
	return strings.ReplaceAll(string(a.Do), "_", " ")
}

// mostWaited is how much of what a step waits for is shown.
const mostWaited = 160

func shortened(text string) string {
	if runes := []rune(text); len(runes) > mostWaited {
		return string(runes[:mostWaited]) + "…"
	}
	return text
}
