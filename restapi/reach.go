package restapi

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

// reach is how far cloning or deleting a service template goes.
type reach string

const (
	reachNone reach = "none"
	// reachTemplates takes the roles' VM templates along.
	reachTemplates reach = "templates"
	// reachAll takes the VM templates' images along too.
	reachAll reach = "all"
)

// cloneVMTemplates copies each VM template once and points the roles to the copies. It returns the functions that undo it.
func cloneVMTemplates(ctx context.Context, r *request, body *spec.Body, name string, far reach) ([]func(context.Context) error, error) {
	if far == reachNone {
		return nil, nil
	}
	images := far == reachAll
	before, err := copiedBefore(ctx, r)
	if err != nil {
		return nil, err
	}
	copies := map[int]int{}
	var undo []func(context.Context) error
	for i := range body.Roles {
		role := &body.Roles[i]
		copied, known := copies[role.TemplateID]
		if !known {
			original, err := r.oned.VMTemplate(ctx, role.TemplateID)
			if err != nil {
				return undo, fmt.Errorf("role %s: read VM template %d: %w", role.Name, role.TemplateID, err)
			}
			copyName := original.Name + "-" + name // as OneFlow calls it
			if copied, known = before[copyName]; !known {
				if copied, err = r.oned.CloneVMTemplate(ctx, role.TemplateID, copyName, images); err != nil {
					return undo, fmt.Errorf("role %s: clone VM template %d: %w", role.Name, role.TemplateID, err)
				}
			}
			copies[role.TemplateID] = copied
			undo = append(undo, func(ctx context.Context) error { return r.oned.DeleteVMTemplate(ctx, copied, images) })
		}
		role.TemplateID = copied
	}
	return undo, nil
}

const clocksApart = time.Minute

// copiedBefore returns the caller's VM templates, by name, that an earlier attempt at this request
// may have made: an owner has a name only once, so that oned would refuse a copy of that name now.
func copiedBefore(ctx context.Context, r *request) (map[string]int, error) {
	if !r.keyed.repeated() {
		return nil, nil
	}
	own, err := r.oned.VMTemplates(ctx, ownOnly)
	if err != nil {
		return nil, fmt.Errorf("look for the copies of the first request: %w", err)
	}
	before := map[string]int{}
	for _, template := range own {
		if template.Registered.After(r.keyed.began.Add(-clocksApart)) {
			before[template.Name] = template.ID
		}
	}
	return before, nil
}

// deleteVMTemplates removes each VM template once. One that is gone is no error.
func deleteVMTemplates(ctx context.Context, oned session, template opennebula.Document, far reach) error {
	if far == reachNone {
		return nil
	}
	body, err := spec.ParseBody(template.Body)
	if err != nil {
		return fmt.Errorf("find its VM templates: %w", err)
	}
	deleted := map[int]bool{}
	for _, role := range body.Roles {
		if deleted[role.TemplateID] {
			continue
		}
		deleted[role.TemplateID] = true
		err := oned.DeleteVMTemplate(ctx, role.TemplateID, far == reachAll)
		if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
			return fmt.Errorf("delete VM template %d: %w", role.TemplateID, err)
		}
	}
	return nil
}
