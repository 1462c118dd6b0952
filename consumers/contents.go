package consumers

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

// extraTemplate is what a VM is made with over its VM template.
func (e *executor) extraTemplate(ctx context.Context, action flow.Action) (string, flow.Outcome, error) {
	service, intent := e.record.State.Service, action.Intent
	base, refused, err := e.baseTemplate(ctx, service, intent.Role)
	if err != nil {
		return "", nil, err
	}
	if refused != nil {
		return "", refusal(action, refused), nil
	}
	values, err := e.referenceValues(ctx, intent.Role)
	if err != nil {
		return "", nil, err
	}
	text, err := render.ExtraTemplate(service, intent.Instance(), base, values)
	if err != nil {
		return "", refusal(action, err), nil
	}
	return text, nil, nil
}

// baseTemplate is a role's VM template, read as the owner, and only where
// something is merged into it. Refused says why it cannot be had.
func (e *executor) baseTemplate(ctx context.Context, service spec.Service, role string) (base one.Template, refused, err error) {
	id, needed := render.NeedsTemplate(service, role)
	if !needed {
		return nil, nil, nil
	}
	template, err := e.actor.session().VMTemplate(ctx, id)
	if err == nil {
		base, err = template.Tree()
	}
	if opennebula.Temporary(err) {
		return nil, nil, fmt.Errorf("read VM template %d for role %s of service %d: %w", id, role, e.service, err)
	}
	return base, err, nil
}

// referenceValues finds what a role's references to its parents stand for: the
// value of the first of the parent's VMs that has one, else empty.
func (e *executor) referenceValues(ctx context.Context, role string) (map[string]string, error) {
	service := e.record.State.Service
	values := map[string]string{}
	trees := map[int]one.Template{}
	for _, reference := range render.References(service, role) {
		values[reference.Text] = ""
		for _, id := range service.RoleNodes(reference.Parent) {
			if vm, known := e.facts[id]; known && !service.Owns(vm) {
				continue // a stranger's VM tells nothing
			}
			tree, err := e.vmTree(ctx, trees, id)
			if err != nil {
				return nil, err
			}
			if value, found := reference.Value(tree); found {
				values[reference.Text] = value
				break
			}
		}
	}
	return values, nil
}

// vmTree reads a VM once. One that oned does not show has no values.
func (e *executor) vmTree(ctx context.Context, trees map[int]one.Template, id int) (one.Template, error) {
	if tree, known := trees[id]; known {
		return tree, nil
	}
	tree, err := e.actor.session().VMTree(ctx, id)
	if err != nil && opennebula.Temporary(err) {
		return nil, fmt.Errorf("read VM %d of service %d, which another role refers to: %w", id, e.service, err)
	}
	trees[id] = tree
	return tree, nil
}
