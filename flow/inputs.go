package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// chooseInputs gives the optional inputs of a body and its roles that have no value their
// defaults, and returns which others have none.
func chooseInputs(body *Body) Violations {
	f := newFindings(roleNames(body.Roles))
	body.UserInputsValues = chooseInputsOf(f, "", body.UserInputs, body.UserInputsValues)
	for i := range body.Roles {
		role := &body.Roles[i]
		role.UserInputsValues = chooseInputsOf(f, fmt.Sprintf("roles[%d].", i), role.UserInputs, role.UserInputsValues)
	}
	return f.violations
}

// chooseInputsOf returns the values with the defaults among them.
func chooseInputsOf(f *findings, path string, declared, values json.RawMessage) json.RawMessage {
	inputs, given := attributesOf(declared), attributesOf(values)
	var missing []string
	changed := false
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		if kindOf(given[name]) != kindNull {
			continue
		}
		input := parseInput(inputs[name])
		switch {
		case !input.optional:
			missing = append(missing, name)
		case input.initial != "":
			if given == nil {
				given = object{}
			}
			given[name], changed = mustMarshal(input.value()), true
		}
	}
	if len(missing) > 0 {
		f.add(path+"user_inputs_values", "lacks a value for %s", strings.Join(missing, ", "))
	}
	if !changed {
		return values
	}
	return given.text()
}
