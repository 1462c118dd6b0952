// Package render makes the template text with which a role's VMs and virtual router are instantiated: its template_contents, with the
// values of variables put in, laid over its VM template.
package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// attributesFrom returns the attributes for one value of template_contents.
func attributesFrom(name string, value json.RawMessage, variables variables) (attributes []one.Attribute) {
	switch raw.KindOf(value) {
	case raw.KindNull: // it empties the VM template's value, as OneFlow's does
		return []one.Attribute{{Name: name}}
	case raw.KindArray:
		for i, element := range raw.Elements(value) {
			if i > 0 {
				*variables.left -= len(name) // the contents have the name once, each attribute repeats it
			}
			if *variables.left < 0 {
				break
			}
			attributes = append(attributes, attributesFrom(name, element, variables)...)
		}
		return attributes
	case raw.KindObject:
		vector, context := one.Template{}, strings.EqualFold(name, contextAttribute)
		for key, inner := range members(value) {
			if text, left := variables.fill(key, inner, context); left {
				vector = append(vector, one.Attribute{Name: key, Value: text})
			}
		}
		return []one.Attribute{{Name: name, Vector: vector}}
	}
	if text, left := variables.fill(name, value, false); left {
		attributes = []one.Attribute{{Name: name, Value: text}}
	}
	return attributes
}

// contextAttribute is the attribute of a VM template in which oned itself replaces $NAME.
const contextAttribute = "CONTEXT"

// members iterates over the members of a JSON object in their order. A repeated name has its last value, as for OneFlow.
func members(object json.RawMessage) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		last := raw.Attributes(object)
		decoder := json.NewDecoder(bytes.NewReader(object))
		_, _ = decoder.Token() // {
		for decoder.More() {
			var skipped json.RawMessage
			token, _ := decoder.Token()
			if decoder.Decode(&skipped) != nil {
				return
			}
			name := fmt.Sprint(token)
			value, left := last[name]
			delete(last, name)
			if left && !yield(name, value) {
				return
			}
		}
	}
}

// FillAll calls FillContents, and then more, for all roles. It returns false, and changes none, if they become too long.
func FillAll(body *spec.Body, more func(*spec.Role)) bool {
	filled, left := slices.Clone(body.Roles), spec.MaxBody
	for i := range filled {
		FillContents(body, &filled[i])
		more(&filled[i])
		if left -= len(filled[i].TemplateContents); left < 0 {
			return false
		}
	}
	copy(body.Roles, filled)
	return true
}

// FillContents adds to a role's template_contents the values that are known when deploying begins. The values of user inputs become
// attributes, and a reference to them in the context, so that the guest gets them. The role's values win over the service's, both over
// those in the contents; a context that names the input itself is kept. $Name in NICs is replaced by the id of the service's network of
// that name, in the document too, as recorded.
func FillContents(body *spec.Body, role *spec.Role) {
	if role.TemplateContents == nil {
		role.TemplateContents = json.RawMessage("{}") // as OneFlow writes it
	}
	if values := inputValues(body, role); len(values) > 0 {
		contents, context := raw.Object{}, raw.Object{}
		maps.Copy(contents, raw.Attributes(role.TemplateContents))
		maps.Copy(context, raw.Attributes(contents[contextAttribute]))
		for name, value := range values {
			if raw.KindOf(value) != raw.KindNull { // an input that was left out empties nothing
				contents[name] = value
			}
			raw.SetDefault(context, name, string(raw.Marshal("$"+name)))
		}
		contents[contextAttribute] = context.JSON()
		role.TemplateContents = contents.JSON()
	}
	if !bytes.Contains(role.TemplateContents, []byte(`"$`)) {
		return
	}
	ids := spec.NetworkIDs(body.NetworksValues)
	contents := raw.Attributes(role.TemplateContents)
	changed := false
	for name, value := range contents {
		if IsNetworkUser(name) {
			filled, changes := fillNICs(value, ids)
			contents[name], changed = filled, changed || changes
		}
	}
	if changed {
		role.TemplateContents = contents.JSON()
	}
}

// inputValues returns the values of user inputs for a role: its own before the service's, and null if none was given.
func inputValues(body *spec.Body, role *spec.Role) raw.Object {
	values := raw.Object{}
	for _, given := range slices.Concat(body.Inputs().Values, role.Inputs().Values) {
		for name, value := range given {
			if _, has := values[name]; !has || raw.KindOf(value) != raw.KindNull {
				values[name] = value
			}
		}
	}
	return values
}

// NeedsTemplate reports whether the role has contents to merge into its VM template, so that the template has to be read, and returns the
// template's id.
func NeedsTemplate(service spec.Service, role string) (id int, needed bool) {
	held := service.Role(role)
	if held == nil || len(raw.Attributes(held.TemplateContents)) == 0 {
		return 0, false
	}
	return held.TemplateID, true
}

// ExtraTemplate returns the template text with which a VM or a virtual router is instantiated, over its role's VM template. base is that
// template, only needed if NeedsTemplate reports so; values are those of the references to parents' VMs, by the references' texts.
func ExtraTemplate(service spec.Service, instance Instance, base one.Template, values map[string]string) (string, error) {
	text := one.Template{}
	if _, needed := NeedsTemplate(service, instance.Role); needed {
		role := service.Role(instance.Role)
		variables, inputs := variablesOf(service, role, instance, values), inputValues(&service.Body, role)
		var contents []contentsEntry
		for name, value := range members(role.TemplateContents) {
			if _, isInput := inputs[name]; isInput && raw.KindOf(value) == raw.KindNull && raw.KindOf(inputs[name]) == raw.KindNull {
				continue // written for an input that was left out, before those were left out of contents
			}
			attributes := attributesFrom(name, value, variables)
			if *variables.left < 0 {
				return "", fmt.Errorf("role %s: with the values of user inputs and parents' VMs put in, template_contents have more than %d bytes; use long values in fewer places",
					instance.Role, spec.MaxContents)
			}
			if attributes != nil || raw.KindOf(value) != raw.KindText { // else an input that was left out: the VM template's value stays
				contents = append(contents, contentsEntry{name: name, object: raw.KindOf(value) == raw.KindObject, attributes: attributes})
			}
		}
		text = merged(base.Without("NAME"), contents)
	}
	text = append(text.Without("SERVICE_ID", "ROLE_NAME", one.KeyAttribute, one.AsUser),
		one.Attribute{Name: "SERVICE_ID", Value: strconv.Itoa(service.ID)},
		one.Attribute{Name: "ROLE_NAME", Value: instance.Role},
		one.Attribute{Name: one.KeyAttribute, Value: instance.Key},
	)
	if instance.Ordinal != NoOrdinal { // the VM is the service's owner's even if its VM template names another user
		text = append(text, one.Attribute{Name: one.AsUser, Value: strconv.Itoa(service.Owner.UID)})
	}
	return text.Text(), nil
}

// fillNICs fills one NIC or several; it reports whether anything was replaced.
func fillNICs(value json.RawMessage, ids map[string]json.RawMessage) (json.RawMessage, bool) {
	switch raw.KindOf(value) {
	case raw.KindArray:
		elements, changed := raw.Elements(value), false
		for i := range elements {
			filled, changes := fillNICs(elements[i], ids)
			elements[i], changed = filled, changed || changes
		}
		return raw.Marshal(elements), changed
	case raw.KindObject:
		nic := raw.Attributes(value)
		name, isReference := strings.CutPrefix(strings.TrimSpace(raw.Text(nic["NETWORK_ID"])), "$")
		if id, known := ids[name]; isReference && known {
			nic["NETWORK_ID"] = id
			return nic.JSON(), true
		}
	}
	return value, false
}

// contentsEntry is one attribute of template_contents, made from an object, an array of objects or a text.
type contentsEntry struct {
	name       string
	object     bool
	attributes []one.Attribute
}

// merged returns the template with contents laid over it, as OneFlow 7.4 does: objects merge attribute by attribute, everything else
// replaces all attributes of the name. Attributes that contents of OneFlow 6 name in APPEND (NIC,DISK) are added to the template's.
func merged(template one.Template, contents []contentsEntry) one.Template {
	const appendAttribute = "APPEND"
	appended := map[string]bool{}
	for _, entry := range contents {
		if entry.name == appendAttribute && len(entry.attributes) == 1 {
			for name := range strings.FieldsFuncSeq(entry.attributes[0].Value, func(r rune) bool { return r == ',' || r == ' ' }) {
				appended[name] = true
			}
			break
		}
	}
	merged := newLayers(template)
	for _, entry := range contents {
		held := merged.only(entry.name)
		switch {
		case entry.name == appendAttribute:
		case appended[entry.name]:
			merged.add(entry.name, entry.attributes)
		case entry.object && held != nil && held.Vector != nil:
			vector := newLayers(held.Vector)
			for _, attribute := range entry.attributes[0].Vector {
				vector.replace(attribute.Name, []one.Attribute{attribute})
			}
			held.Vector = slices.Concat(vector.slots...)
		default:
			merged.replace(entry.name, entry.attributes)
		}
	}
	return slices.Concat(merged.slots...)
}

// layers are a template and the attributes that are laid over it, indexed by name, so that a long list takes time in proportion to its
// length.
type layers struct {
	// slots hold the attributes in their order, those of one name in each slot.
	slots [][]one.Attribute
	// named are the slots with attributes of a name, in lower case.
	named map[string][]int
}

func newLayers(t one.Template) *layers {
	o := &layers{named: map[string][]int{}}
	for _, attribute := range t {
		o.add(attribute.Name, []one.Attribute{attribute})
	}
	return o
}

func (o *layers) add(name string, attributes []one.Attribute) {
	if len(attributes) == 0 {
		return
	}
	name = strings.ToLower(name)
	o.named[name] = append(o.named[name], len(o.slots))
	o.slots = append(o.slots, attributes)
}

// replace puts attributes of a name into the slot of the first one, and removes the others.
func (o *layers) replace(name string, attributes []one.Attribute) {
	name = strings.ToLower(name)
	at := o.named[name]
	if len(at) == 0 {
		o.add(name, attributes)
		return
	}
	for _, slot := range at {
		o.slots[slot] = nil
	}
	delete(o.named, name)
	if len(attributes) > 0 {
		o.slots[at[0]], o.named[name] = attributes, at[:1]
	}
}

// only returns the one attribute of the name, nil if there is none or several.
func (o *layers) only(name string) *one.Attribute {
	at := o.named[strings.ToLower(name)]
	if len(at) != 1 || len(o.slots[at[0]]) != 1 {
		return nil
	}
	return &o.slots[at[0]][0]
}
