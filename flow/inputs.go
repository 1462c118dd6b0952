package flow

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// userInput is what a template says of a value that is asked for when it is instantiated:
// "O|number|memory in MB| |512".
type userInput struct {
	optional bool
	kind     string
	initial  string
}

// parseInput reads a declaration. One that cannot be read is mandatory, as with OneFlow.
func parseInput(declaration json.RawMessage) userInput {
	const kind, initial = 1, 4
	parts := strings.SplitN(textOf(declaration), "|", initial+1)
	input := userInput{optional: strings.TrimSpace(parts[0]) == "O"}
	if len(parts) > kind {
		input.kind = strings.TrimSpace(parts[kind])
	}
	if len(parts) > initial {
		input.initial = strings.TrimSpace(parts[initial])
	}
	return input
}

// value is the default as the commands of OpenNebula send it, empty if there is none.
func (u userInput) value() string {
	if u.kind == "text64" {
		return base64.StdEncoding.EncodeToString([]byte(u.initial))
	}
	return u.initial
}

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
