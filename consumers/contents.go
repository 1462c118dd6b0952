package consumers

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// extraTemplate is what a VM is made with over its VM template.
func (l *lane) extraTemplate(ctx context.Context, intent flow.Intent) (string, verdict, error) {
	service := l.record.State.Service
	base, refused, err := l.baseTemplate(ctx, service, intent.Role)
	if err != nil {
		return "", nil, err
	}
	if refused != nil {
		return "", l.refuseIntent(intent, refused), nil
	}
	values, err := l.referenceValues(ctx, intent.Role)
	if err != nil {
		return "", nil, err
	}
	text, err := flow.ExtraTemplate(service, intent, base, values)
	if err != nil {
		return "", l.refuseIntent(intent, err), nil
	}
	return text, nil, nil
}

// baseTemplate is a role's VM template, read as the owner, and only where
// something is merged into it. Refused says why it cannot be had.
func (l *lane) baseTemplate(ctx context.Context, service flow.Service, role string) (base flow.Template, refused, err error) {
	id, needed := flow.NeedsTemplate(service, role)
	if !needed {
		return nil, nil, nil
	}
	template, err := l.session().VMTemplate(ctx, id)
	if err == nil {
		base, err = template.Tree()
	}
	if opennebula.Temporary(err) {
		return nil, nil, fmt.Errorf("read VM template %d for role %s of service %d: %w", id, role, l.service, err)
	}
	return base, err, nil
}

// referenceValues finds what a role's references to its parents stand for: the
// value of the first of the parent's VMs that has one, else empty.
func (l *lane) referenceValues(ctx context.Context, role string) (map[string]string, error) {
	service := l.record.State.Service
	values := map[string]string{}
	trees := map[int]flow.Template{}
	for _, reference := range flow.References(service, role) {
		values[reference.Text] = ""
		for _, id := range service.RoleNodes(reference.Parent) {
			if vm, known := l.facts[id]; known && !service.Owns(vm) {
				continue // a stranger's VM tells nothing
			}
			tree, err := l.vmTree(ctx, trees, id)
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
func (l *lane) vmTree(ctx context.Context, trees map[int]flow.Template, id int) (flow.Template, error) {
	if tree, known := trees[id]; known {
		return tree, nil
	}
	tree, err := l.session().VMTree(ctx, id)
	if err != nil && opennebula.Temporary(err) {
		return nil, fmt.Errorf("read VM %d of service %d, which another role refers to: %w", id, l.service, err)
	}
	trees[id] = tree
	return tree, nil
}
