package flow

import (
	"encoding/base64"
	"encoding/json"
	stdjson "encoding/json"
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

// inputValues are the values of a body's or a role's user inputs, those that OneFlow 6 called custom_attrs first.
func inputValues(extra map[string]stdjson.RawMessage, values stdjson.RawMessage) []stdjson.RawMessage {
	return []stdjson.RawMessage{extra["custom_attrs_values"], values}
}

// inputNames are the names of user inputs that are declared or have values.
func inputNames(extra map[string]json.RawMessage, declared, values json.RawMessage) []string {
	var names []string
	for _, inputs := range []json.RawMessage{extra["custom_attrs"], declared, extra["custom_attrs_values"], values} {
		names = slices.AppendSeq(names, maps.Keys(attributesOf(inputs)))
	}
	return names
}
