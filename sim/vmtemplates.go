package sim

import (
	"strings"

	"github.com/flowjet/flowjet/opennebula"
)

// vmTemplate is a VM template.
type vmTemplate struct {
	object
	Registered int64    `json:"registered"`
	Template   template `json:"template"`
}

func (v *vmTemplate) show(b *xmlWriter) {
	open(b, "VMTEMPLATE")
	v.headAndPermissions(b)
	moment(b, "REGTIME", v.Registered)
	v.Template.write(b, "TEMPLATE")
	shut(b, "VMTEMPLATE")
}

// isRouter reports whether the template is for the VMs of virtual routers.
func (v *vmTemplate) isRouter() bool { return strings.EqualFold(v.Template.text("VROUTER"), "YES") }

const templateWords = "virtual machine template"

var templates = class[vmTemplate, *vmTemplate]{
	kind: kindTemplate, words: templateWords, label: "TEMPLATE", root: "VMTEMPLATE_POOL",
	pool: func(c *cloud) pool[vmTemplate] { return c.templates },
}

func templateAllocate(r *request) answer {
	parsed, err := parseTemplate(r.text(1))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	return templates.allocate(r, "template-", parsed, func(head object, content template) *vmTemplate {
		return &vmTemplate{object: head, Registered: now(), Template: content}
	})
}

func templateClone(r *request) answer {
	source, refused := templates.find(r, r.int(1), use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	if reason := templates.newName(r, r.text(2)); reason != "" {
		return refusedAnswer(refuse(opennebula.CodeInternal, reason))
	}
	id := r.tx.nextID(kindTemplate)
	templates.save(r.tx, &vmTemplate{
		object: r.cloud.owned(id, r.text(2), r.who), Registered: now(),
		Template: source.Template.set("NAME", r.text(2)),
	})
	return idAnswer(id)
}

func templateUpdate(r *request, t *vmTemplate) *refusal {
	updated, refused := updatedTemplate(t.Template, r.text(2), r.int(3))
	if refused == nil {
		t.Template = updated
	}
	return refused
}

// updatedTemplate is what an update makes of a template: 0 replaces it, 1
// merges.
func updatedTemplate(old template, text string, mode int) (template, *refusal) {
	if mode < 0 || mode > 1 {
		return nil, refuse(opennebula.CodeXMLRPC, "Wrong update type")
	}
	parsed, err := parseTemplate(text)
	if err != nil {
		return nil, refuse(opennebula.CodeInternal, "Cannot update template. "+err.Error())
	}
	if mode == 1 {
		return old.merged(parsed), nil
	}
	return parsed, nil
}
