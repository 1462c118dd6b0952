package restapi

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/flow"
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

func (a attributes) reach(name string, missing reach) (reach, error) {
	if !a.has(name) {
		return missing, nil
	}
	value, err := a.text(name)
	if err != nil {
		return "", err
	}
	switch far := reach(value); far {
	case reachNone, reachTemplates, reachAll:
		return far, nil
	}
	return "", badRequest("%s %q is not supported; supported are none, templates, all", name, value)
}

// cloneVMTemplates copies each VM template once and points the roles to the
// copies. What it returns undoes it.
func cloneVMTemplates(ctx context.Context, oned session, body *flow.Body, name string, far reach) ([]func(context.Context) error, error) {
	if far == reachNone {
		return nil, nil
	}
	images := far == reachAll
	copies := map[int]int{}
	var undo []func(context.Context) error
	for i := range body.Roles {
		role := &body.Roles[i]
		copied, known := copies[role.TemplateID]
		if !known {
			var err error
			if copied, err = cloneVMTemplate(ctx, oned, role.TemplateID, name, images); err != nil {
				return undo, fmt.Errorf("role %s: %w", role.Name, err)
			}
			copies[role.TemplateID] = copied
			undo = append(undo, func(ctx context.Context) error { return oned.DeleteVMTemplate(ctx, copied, images) })
		}
		role.TemplateID = copied
	}
	return undo, nil
}

// cloneVMTemplate names the copy as OneFlow does: the original's name, a dash
// and the new service template's.
func cloneVMTemplate(ctx context.Context, oned session, id int, name string, images bool) (int, error) {
	original, err := oned.VMTemplate(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("read VM template %d: %w", id, err)
	}
	copied, err := oned.CloneVMTemplate(ctx, id, original.Name+"-"+name, images)
	if err != nil {
		return 0, fmt.Errorf("clone VM template %d: %w", id, err)
	}
	return copied, nil
}

// deleteVMTemplates removes each VM template once. One that is gone is no error.
func deleteVMTemplates(ctx context.Context, oned session, template opennebula.Document, far reach) error {
	if far == reachNone {
		return nil
	}
	body, err := flow.ParseBody(template.Body)
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
