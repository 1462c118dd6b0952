package client

import (
	"context"
	"fmt"
)

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

// Input is a user input.
type Input struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Type is OpenNebula's: text, text64, password, number, range, boolean, list and so on.
	Type      string   `json:"type"`
	Mandatory bool     `json:"mandatory"`
	Options   []string `json:"options,omitempty"`
	Default   string   `json:"default,omitempty"`
	Value     string   `json:"value,omitempty"`
	// Set is true if there is a value, which is not shown of a password.
	Set bool `json:"set"`
}

// Network is a network of a service or template.
type Network struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Mandatory   bool   `json:"mandatory"`
	// From is id, template_id or reserve_from, and Of the id that is meant; ID is the network that a service has.
	From string `json:"from,omitempty"`
	Of   string `json:"of,omitempty"`
	ID   string `json:"id,omitempty"`
}

// Templates lists the service templates that the user may see, by name.
func (c *Client) Templates(ctx context.Context) ([]Template, error) {
	var answer struct {
		Templates []Template `json:"templates"`
	}
	if _, err := c.read(ctx, "/templates", nil, &answer); err != nil {
		return nil, fmt.Errorf("list service templates: %w", err)
	}
	return answer.Templates, nil
}
