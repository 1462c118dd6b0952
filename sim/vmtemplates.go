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

func (v *vmTemplate) write(b *xmlWriter) {
	open(b, "VMTEMPLATE")
	v.headAndPermissions(b)
	moment(b, "REGTIME", v.Registered)
	v.Template.write(b, "TEMPLATE")
	shut(b, "VMTEMPLATE")
}

// isRouter reports whether the template is for the VMs of virtual routers.
func (v *vmTemplate) isRouter() bool { return strings.EqualFold(v.Template.text("VROUTER"), "YES") }

const templateWords = "virtual machine template"

// templateFor finds the template of parameter 1 that the caller has a right on.
func templateFor(r *request, needed right) (*vmTemplate, *refusal) {
	found := r.cloud.templates[r.int(1)]
	if found == nil {
		return nil, notFound(templateWords, r.int(1))
	}
	return found, r.who.authorize(needed, "TEMPLATE", &found.object)
}

func templateInfo(r *request) answer {
	found, refused := templateFor(r, use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	return xmlAnswer(found.write)
}

func templatePoolInfo(r *request) answer {
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "VMTEMPLATE_POOL")
		for _, id := range r.page(1).cut(newestFirst(r.cloud.templates)) {
			if item := r.cloud.templates[id]; r.who.listed(r.int(1), &item.object) {
				item.write(b)
			}
		}
		shut(b, "VMTEMPLATE_POOL")
	})
}

func templateAllocate(r *request) answer {
	parsed, err := parseTemplate(r.text(1))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	id := r.tx.nextID(kindTemplate)
	name := parsed.text("NAME")
	if name == "" {
		name = "template-" + itoa(id)
	}
	made := &vmTemplate{object: r.cloud.owned(id, name, r.who), Registered: now(), Template: parsed.without("NAME")}
	r.keepTemplate(made)
	r.extra = xmlText(made.write)
	return idAnswer(id)
}

func (r *request) keepTemplate(v *vmTemplate) {
	r.cloud.templates[v.ID] = v
	r.tx.save(kindTemplate, v.ID, v)
}

func templateClone(r *request) answer {
	source, refused := templateFor(r, use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	if reason := r.templateName(r.text(2)); reason != "" {
		return refusedAnswer(refuse(opennebula.CodeInternal, reason))
	}
	id := r.tx.nextID(kindTemplate)
	r.keepTemplate(&vmTemplate{
		object: r.cloud.owned(id, r.text(2), r.who), Registered: now(),
		Template: source.Template.set("NAME", r.text(2)),
	})
	return idAnswer(id)
}

// templateName is oned's reason against a new template's name: a user has each
// once. It is "" where there is none.
func (r *request) templateName(name string) (reason string) {
	if reason := badName(name); reason != "" {
		return reason
	}
	for _, id := range oldestFirst(r.cloud.templates) {
		if other := r.cloud.templates[id]; other.Name == name && other.UID == r.who.user.ID {
			return "NAME is already taken by TEMPLATE " + itoa(id) + "."
		}
	}
	return ""
}

func templateDelete(r *request) answer {
	found, refused := templateFor(r, manage)
	if refused != nil {
		return refusedAnswer(refused)
	}
	r.extra = xmlText(found.write)
	delete(r.cloud.templates, found.ID)
	r.tx.remove(kindTemplate, found.ID)
	return idAnswer(found.ID)
}

func templateUpdate(r *request) answer {
	found, refused := templateFor(r, manage)
	if refused != nil {
		return refusedAnswer(refused)
	}
	updated, refused := updatedTemplate(found.Template, r.text(2), r.int(3))
	if refused != nil {
		return refusedAnswer(refused)
	}
	found.Template = updated
	r.keepTemplate(found)
	return idAnswer(found.ID)
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

func templateChmod(r *request) answer {
	found, refused := templateFor(r, manage)
	if refused == nil {
		refused = chmod(r.who, &found.object, "TEMPLATE", r.bits())
	}
	if refused != nil {
		return refusedAnswer(refused)
	}
	r.keepTemplate(found)
	return idAnswer(found.ID)
}
