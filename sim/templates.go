package sim

import (
	"cmp"
	"fmt"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// storedTemplate is a template of VMs or of virtual networks.
type storedTemplate struct {
	object
	Registered int64             `json:"registered"`
	Template   template.Template `json:"template"`
}

type templateClass = class[storedTemplate, *storedTemplate]

var (
	templates = templateClass{
		kind: kindTemplate, words: "virtual machine template", label: "TEMPLATE", element: "VMTEMPLATE",
		pool: func(c *cloud) pool[storedTemplate] { return c.templates },
	}
	vnTemplates = templateClass{
		kind: kindVNTemplate, words: "virtual network template", label: "VNTEMPLATE", element: "VNTEMPLATE",
		pool: func(c *cloud) pool[storedTemplate] { return c.vnTemplates },
	}
)

func (s *storedTemplate) show(w *xmlrpc.Writer) {
	s.headAndPermissions(w)
	w.Fields("REGTIME", s.Registered)
	s.Template.Write(w, "TEMPLATE")
}

// allocateTemplate returns the call allocate(template).
func allocateTemplate(c *templateClass, prefix string) func(r *request) answer {
	return func(r *request) answer {
		parsed, err := template.Parse(r.text(1))
		if err != nil {
			return answer{refusal: badTemplate(err)}
		}
		return c.allocate(r, prefix, parsed, func(head object, content template.Template) *storedTemplate {
			return &storedTemplate{object: head, Registered: now(), Template: content}
		})
	}
}

func templateClone(r *request, source *storedTemplate) answer {
	if reason := templates.newName(r, r.text(2)); reason != "" {
		return answer{refusal: refuse(opennebula.CodeInternal, reason)}
	}
	made := &storedTemplate{
		object: r.cloud.owned(r.tx.nextID(kindTemplate), r.text(2), r.who), Registered: now(),
		Template: source.Template.Set("NAME", r.text(2)),
	}
	return templates.changed(r, made, nil)
}

func templateUpdate(r *request, t *storedTemplate) *refusal { return r.update(&t.Template) }

// update is the call update(id, template, mode): 0 replaces it, 1 merges.
func (r *request) update(t *template.Template) *refusal {
	mode := r.int(3)
	if mode < 0 || mode > 1 {
		return refuse(opennebula.CodeXMLRPC, "Wrong update type")
	}
	parsed, err := template.Parse(r.text(2))
	if err != nil {
		return refuse(opennebula.CodeInternal, "Cannot update template. "+err.Error())
	}
	if mode == 1 {
		parsed = t.Merged(parsed)
	}
	*t = parsed
	return nil
}

// vnTemplateInstantiate is one.vntemplate.instantiate(id, name, extra).
func vnTemplateInstantiate(r *request, from *storedTemplate) answer {
	extra, err := template.Parse(r.text(3))
	if err != nil {
		return answer{refusal: badTemplate(err)}
	}
	merged, name := from.Template.Merged(extra), cmp.Or(r.text(2), from.Name)
	if reason := networks.newName(r, name); reason != "" {
		return answer{refusal: refuse(opennebula.CodeAllocate, fmt.Sprintf("Error allocating a new %s. %s", vnTemplates.words, reason))}
	}
	id := r.tx.nextID(kindNetwork)
	made := &network{
		object: r.cloud.owned(id, name, r.who), Parent: -1, FromID: from.ID,
		Template: networkDefaults("onebr" + itoa(id)).Merged(merged.Without("AR", "NAME", "TEMPLATE_ID")),
	}
	for i, ar := range merged.Vectors("AR") {
		ip, ok := parseIP(ar.Vector.Text("IP"))
		size := ar.Vector.Number("SIZE", 0)
		if ok && size > 0 && size <= 1<<24 { // oned makes the network without what is no range
			made.Ranges = append(made.Ranges, addressRange{ID: i, IP: ip, MAC: macPrefix | uint64(ip), Size: size, Parent: -1})
		}
	}
	addNetwork(r.tx, made)
	return answer{value: id}
}
