package view

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// inputs reads descriptions such as "M|list|Size|1,2,4|2" and their values, by name. A
// value without a description is not shown: it might be a secret.
func inputs(descriptions, values json.RawMessage) []schema.Input {
	var asked map[string]string
	var given map[string]any
	_ = json.Unmarshal(descriptions, &asked) // what cannot be read asks for nothing
	_ = json.Unmarshal(values, &given)
	list := []schema.Input{}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		fields := append(strings.Split(asked[name], "|"), "", "", "", "", "")
		input := schema.Input{Name: name, Mandatory: strings.TrimSpace(fields[0]) == "M", Type: strings.TrimSpace(fields[1]), Description: strings.TrimSpace(fields[2])}
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

// networks reads descriptions such as "M|network|Public| |id:0" and what a service has.
func networks(descriptions, values json.RawMessage) []schema.Network {
	var asked map[string]string
	var given []map[string]map[string]any
	_ = json.Unmarshal(descriptions, &asked) // what cannot be read asks for nothing
	_ = json.Unmarshal(values, &given)
	have := map[string]map[string]any{}
	for _, each := range given {
		maps.Copy(have, each)
	}
	list := []schema.Network{}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		fields := append(strings.Split(asked[name], "|"), "", "", "", "", "")
		network := schema.Network{Name: name, Mandatory: strings.TrimSpace(fields[0]) == "M", Description: strings.TrimSpace(fields[2])}
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

// OfTemplate shows a service template.
func OfTemplate(id int, name string, owner one.Identity, body spec.Body) schema.Template {
	shown := schema.Template{
		ID: id, Name: name, Owner: owner.UName, Group: owner.GName, Roles: []schema.TemplateRole{},
		Inputs: inputs(body.UserInputs, body.UserInputsValues), Networks: networks(body.Networks, body.NetworksValues),
	}
	if body.Description != nil {
		shown.Description = *body.Description
	}
	for _, role := range body.Roles {
		shown.Roles = append(shown.Roles, schema.TemplateRole{
			Name: role.Name, Cardinality: role.Cardinality, Min: role.MinVMs, Max: role.MaxVMs,
			Parents: append([]string{}, role.Parents...), Inputs: inputs(role.UserInputs, role.UserInputsValues),
		})
	}
	return shown
}
