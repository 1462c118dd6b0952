package view

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow"
)

// Input is a user input, as a form asks for it.
type Input struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Type is OpenNebula's: text, text64, password, number, number-float, range,
	// range-float, boolean, list, list-multiple, fixed.
	Type      string `json:"type"`
	Mandatory bool   `json:"mandatory"`
	// Options are those of a list, or the two ends of a range.
	Options []string `json:"options,omitempty"`
	// Default is what the template proposes. Passwords are left out.
	Default string `json:"default,omitempty"`
	// Value is the service's, if it may be shown; Set is true if there is one.
	Value string `json:"value,omitempty"`
	Set   bool   `json:"set"`
}

// inputs reads descriptions such as "M|list|Size|1,2,4|2" and their values, by name. A
// value without a description is not shown: it might be a secret.
func inputs(descriptions, values json.RawMessage) []Input {
	var asked map[string]string
	var given map[string]any
	_ = json.Unmarshal(descriptions, &asked) // what cannot be read asks for nothing
	_ = json.Unmarshal(values, &given)
	list := []Input{}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		fields := append(strings.Split(asked[name], "|"), "", "", "", "", "")
		input := Input{Name: name, Mandatory: strings.TrimSpace(fields[0]) == "M", Type: strings.TrimSpace(fields[1]), Description: strings.TrimSpace(fields[2])}
		if options := strings.TrimSpace(fields[3]); strings.HasPrefix(input.Type, "range") {
			input.Options = strings.Split(options, "..")
		} else if options != "" {
			input.Options = strings.Split(options, ",")
		}
		value, set := given[name]
		if input.Set = set; input.Type != "password" {
			input.Default = strings.TrimSpace(fields[4])
			input.Value = scalar(value)
		}
		list = append(list, input)
	}
	return list
}

// scalar is the text of a JSON value.
func scalar(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	}
	text, _ := json.Marshal(value) // it was read from JSON
	return string(text)
}

// Network is a network of a service or template.
type Network struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Mandatory   bool   `json:"mandatory"`
	// From is id, template_id or reserve_from, and Of the id that is meant.
	From string `json:"from,omitempty"`
	Of   string `json:"of,omitempty"`
	// ID is the network that the service has.
	ID string `json:"id,omitempty"`
}

// networks reads descriptions such as "M|network|Public| |id:0" and what a service has.
func networks(descriptions, values json.RawMessage) []Network {
	var asked map[string]string
	var given []map[string]map[string]any
	_ = json.Unmarshal(descriptions, &asked) // what cannot be read asks for nothing
	_ = json.Unmarshal(values, &given)
	have := map[string]map[string]any{}
	for _, each := range given {
		maps.Copy(have, each)
	}
	list := []Network{}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		fields := append(strings.Split(asked[name], "|"), "", "", "", "", "")
		network := Network{Name: name, Mandatory: strings.TrimSpace(fields[0]) == "M", Description: strings.TrimSpace(fields[2])}
		network.From, network.Of, _ = strings.Cut(strings.TrimSpace(fields[4]), ":")
		network.Of, _, _ = strings.Cut(network.Of, ":")
		for _, from := range []string{"id", "reserve_from", "template_id"} {
			if value, found := have[name][from]; found {
				network.From, network.Of = from, scalar(value)
			}
		}
		network.ID = scalar(have[name]["id"])
		list = append(list, network)
	}
	return list
}

// Template is a service template with the form by which it is instantiated.
type Template struct {
	ID          int            `json:"id"`
	Name        string         `json:"name"`
	Owner       string         `json:"owner"`
	Group       string         `json:"group"`
	Description string         `json:"description,omitempty"`
	Inputs      []Input        `json:"inputs"`
	Networks    []Network      `json:"networks"`
	Roles       []TemplateRole `json:"roles"`
}

// TemplateRole is a role of a template.
type TemplateRole struct {
	Name        string   `json:"name"`
	Cardinality int      `json:"cardinality"`
	Min         *int     `json:"min_vms,omitempty"`
	Max         *int     `json:"max_vms,omitempty"`
	Parents     []string `json:"parents"`
	Inputs      []Input  `json:"inputs"`
}

// OfTemplate shows a service template.
func OfTemplate(id int, name string, owner flow.Identity, body flow.Body) Template {
	shown := Template{
		ID: id, Name: name, Owner: owner.UName, Group: owner.GName, Roles: []TemplateRole{},
		Inputs: inputs(body.UserInputs, body.UserInputsValues), Networks: networks(body.Networks, body.NetworksValues),
	}
	if body.Description != nil {
		shown.Description = *body.Description
	}
	for _, role := range body.Roles {
		shown.Roles = append(shown.Roles, TemplateRole{
			Name: role.Name, Cardinality: role.Cardinality, Min: role.MinVMs, Max: role.MaxVMs,
			Parents: append([]string{}, role.Parents...), Inputs: inputs(role.UserInputs, role.UserInputsValues),
		})
	}
	return shown
}
