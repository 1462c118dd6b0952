package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// chooseInputs gives the optional inputs of a body and its roles that have no value their
// defaults, and returns which others have none.
func chooseInputs(body *spec.Body) Violations {
	f := newFindings(spec.RoleNames(body.Roles))
	body.UserInputsValues = chooseInputsOf(f, "", body.UserInputs, body.UserInputsValues)
	for i := range body.Roles {
		role := &body.Roles[i]
		role.UserInputsValues = chooseInputsOf(f, fmt.Sprintf("roles[%d].", i), role.UserInputs, role.UserInputsValues)
	}
	return f.violations
}

// chooseInputsOf returns the values with the defaults among them.
func chooseInputsOf(f *findings, path string, declared, values json.RawMessage) json.RawMessage {
	inputs, given := raw.Attributes(declared), raw.Attributes(values)
	var missing []string
	changed := false
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		if raw.KindOf(given[name]) != raw.KindNull {
			continue
		}
		input := spec.ParseInput(inputs[name])
		switch {
		case !input.Optional:
			missing = append(missing, name)
		case input.Initial != "":
			if given == nil {
				given = raw.Object{}
			}
			given[name], changed = raw.Marshal(input.Value()), true
		}
	}
	if len(missing) > 0 {
		f.add(path+"user_inputs_values", "lacks a value for %s", strings.Join(missing, ", "))
	}
	if !changed {
		return values
	}
	return given.JSON()
}
