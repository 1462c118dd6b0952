package client

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/client/schema"
)

// Templates lists the service templates that the user may see, by name.
func (c *Client) Templates(ctx context.Context) ([]schema.Template, error) {
	var answer struct {
		Templates []schema.Template `json:"templates"`
	}
	if _, err := c.read(ctx, "/templates", nil, &answer); err != nil {
		return nil, fmt.Errorf("list service templates: %w", err)
	}
	return answer.Templates, nil
}
