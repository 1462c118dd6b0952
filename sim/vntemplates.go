package sim

import "github.com/flowjet/flowjet/opennebula"

// vnTemplate is a template of virtual networks.
type vnTemplate struct {
	object
	Registered int64    `json:"registered"`
	Template   template `json:"template"`
}

func (v *vnTemplate) show(b *xmlWriter) {
	open(b, "VNTEMPLATE")
	v.headAndPermissions(b)
	moment(b, "REGTIME", v.Registered)
	v.Template.write(b, "TEMPLATE")
	shut(b, "VNTEMPLATE")
}

var vnTemplates = class[vnTemplate, *vnTemplate]{
	kind: kindVNTemplate, words: "virtual network template", label: "VNTEMPLATE",
	pool: func(c *cloud) pool[vnTemplate] { return c.vnTemplates },
}

func vnTemplateAllocate(r *request) answer {
	parsed, err := parseTemplate(r.text(1))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	return vnTemplates.allocate(r, "vntemplate-", parsed, func(head object, content template) *vnTemplate {
		return &vnTemplate{object: head, Registered: now(), Template: content}
	})
}

// vnTemplateInstantiate is one.vntemplate.instantiate(id, name, extra).
func vnTemplateInstantiate(r *request) answer {
	from, refused := vnTemplates.find(r, r.int(1), use)
	if refused != nil {
		return refusedAnswer(refused)
	}
	extra, err := parseTemplate(r.text(3))
	if err != nil {
		return refusedAnswer(badTemplate(err))
	}
	merged, name := from.Template.merged(extra), orElse(r.text(2), from.Name)
	if reason := networks.newName(r, name); reason != "" {
		return refusedAnswer(refuse(opennebula.CodeAllocate, "Error allocating a new virtual network template. "+reason))
	}
	id := r.tx.nextID(kindNetwork)
	made := &network{
		object: r.cloud.owned(id, name, r.who), Parent: -1, FromID: from.ID,
		Template: networkDefaults("onebr" + itoa(id)).merged(merged.without("AR", "NAME", "TEMPLATE_ID")),
	}
	for i, ar := range merged.vectors("AR") {
		if parsed, fit := parseRange(i, ar.inner()); fit { // oned makes the network without what does not
			made.Ranges = append(made.Ranges, parsed)
		}
	}
	addNetwork(r.tx, made)
	return idAnswer(id)
}
