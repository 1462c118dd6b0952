package spec

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
)

// UserInput is what a template says of a value that is asked for when it is instantiated:
// "O|number|memory in MB| |512".
type UserInput struct {
	Optional bool
	kind     string
	Initial  string
}

// ParseInput reads a declaration. One that cannot be read is mandatory, as with OneFlow.
func ParseInput(declaration json.RawMessage) UserInput {
	const kind, initial = 1, 4
	parts := strings.SplitN(raw.Text(declaration), "|", initial+1)
	input := UserInput{Optional: strings.TrimSpace(parts[0]) == "O"}
	if len(parts) > kind {
		input.kind = strings.TrimSpace(parts[kind])
	}
	if len(parts) > initial {
		input.Initial = strings.TrimSpace(parts[initial])
	}
	return input
}

// Value is the default as the commands of OpenNebula send it, empty if there is none.
func (u UserInput) Value() string {
	if u.kind == "text64" {
		return base64.StdEncoding.EncodeToString([]byte(u.Initial))
	}
	return u.Initial
}

// InputValues are the values of a body's or a role's user inputs, those that OneFlow 6 called custom_attrs first.
func InputValues(extra map[string]json.RawMessage, values json.RawMessage) []json.RawMessage {
	return []json.RawMessage{extra["custom_attrs_values"], values}
}

// InputNames are the names of user inputs that are declared or have values.
func InputNames(extra map[string]json.RawMessage, declared, values json.RawMessage) []string {
	var names []string
	for _, inputs := range []json.RawMessage{extra["custom_attrs"], declared, extra["custom_attrs_values"], values} {
		names = slices.AppendSeq(names, maps.Keys(raw.Attributes(inputs)))
	}
	return names
}
