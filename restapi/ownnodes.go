package restapi

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// ownNodes are the role's nodes that are the service's VMs. What others may have written into
// the document must not be done with the caller's rights; the owner has no more than he could
// do himself.
func (r *request) ownNodes(ctx context.Context, document opennebula.Document, role flow.Role) ([]flow.Node, error) {
	if r.caller.Identity.UID == document.Owner.UID {
		return role.Nodes, nil
	}
	service := flow.Service{ID: document.ID, Owner: document.Owner}
	var own []flow.Node
	for _, node := range role.Nodes {
		vm, err := r.oned.VM(ctx, node.DeployID)
		switch {
		case opennebula.IsCode(err, opennebula.CodeNoExists):
		case err != nil:
			return nil, fmt.Errorf("look whose VM %d of role %s is: %w", node.DeployID, role.Name, err)
		case service.Owns(vm):
			own = append(own, node)
		}
	}
	return own, nil
}
