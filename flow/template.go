package flow

import (
	"fmt"
	"slices"
	"strings"
)

// Template is a template of OpenNebula's: attributes in their order, the same
// name possibly several times.
type Template []Attribute

// Attribute is one entry of a Template: a text, or a vector of attributes.
type Attribute struct {
	Name  string
	Value string
	// Vector is nil for a text.
	Vector Template
}

// Lookup finds a text by its path, TEMPLATE, CONTEXT, ETH0_IP. Names are
// compared without regard to case; of several vectors of one name the first
// that has what is looked for counts.
func (t Template) Lookup(path ...string) (string, bool) {
	if len(path) == 0 {
		return "", false
	}
	for _, attribute := range t {
		if !strings.EqualFold(attribute.Name, path[0]) {
			continue
		}
		if len(path) == 1 && attribute.Vector == nil {
			return attribute.Value, true
		}
		if value, found := attribute.Vector.Lookup(path[1:]...); found {
			return value, true
		}
	}
	return "", false
}

// merged is the template with contents laid over it, as OneFlow 7.4 does:
// objects merge attribute by attribute, everything else takes the place of all
// that had the name. What contents of OneFlow 6 name in APPEND is added to what the
// template has.
func (t Template) merged(contents []contentsEntry) Template {
	merged, appended := newLayers(t), appendedNames(contents)
	for _, entry := range contents {
		switch {
		case entry.name == appendAttribute:
		case appended[entry.name]:
			merged.add(entry.name, entry.attributes)
		case entry.object && merged.hasVector(entry.name):
			vector := &merged.first(entry.name).Vector
			*vector = vector.over(entry.attributes[0].Vector)
		default:
			merged.replace(entry.name, entry.attributes)
		}
	}
	return merged.template()
}

// appendAttribute is the attribute in which contents of OneFlow 6 name others, NIC,DISK.
const appendAttribute = "APPEND"

func appendedNames(contents []contentsEntry) map[string]bool {
	names := map[string]bool{}
	for _, entry := range contents {
		if entry.name == appendAttribute && len(entry.attributes) == 1 {
			for name := range strings.FieldsFuncSeq(entry.attributes[0].Value, func(r rune) bool { return r == ',' || r == ' ' }) {
				names[name] = true
			}
			break
		}
	}
	return names
}

// over lays single attributes over a vector's.
func (t Template) over(other Template) Template {
	merged := newLayers(t)
	for _, attribute := range other {
		merged.replace(attribute.Name, []Attribute{attribute})
	}
	return merged.template()
}

// layers are a template and the attributes that are laid over it. They know where those of a
// name are, so that a long list takes time in proportion to its length.
type layers struct {
	// places hold the attributes in their order, those of one name at each place.
	places [][]Attribute
	// named are the places with attributes of a name, in lower case.
	named map[string][]int
}

func newLayers(t Template) *layers {
	o := &layers{named: map[string][]int{}}
	for _, attribute := range t {
		o.add(attribute.Name, []Attribute{attribute})
	}
	return o
}

// add puts attributes of a name at the end.
func (o *layers) add(name string, attributes []Attribute) {
	if len(attributes) == 0 {
		return
	}
	name = strings.ToLower(name)
	o.named[name] = append(o.named[name], len(o.places))
	o.places = append(o.places, attributes)
}

// replace puts attributes of a name where the first one stood, and takes the others away.
func (o *layers) replace(name string, attributes []Attribute) {
	name = strings.ToLower(name)
	at := o.named[name]
	if len(at) == 0 {
		o.add(name, attributes)
		return
	}
	for _, place := range at {
		o.places[place] = nil
	}
	delete(o.named, name)
	if len(attributes) > 0 {
		o.places[at[0]], o.named[name] = attributes, at[:1]
	}
}

// hasVector reports whether there is one attribute of the name, and it is a vector.
func (o *layers) hasVector(name string) bool {
	at := o.named[strings.ToLower(name)]
	return len(at) == 1 && len(o.places[at[0]]) == 1 && o.first(name).Vector != nil
}

func (o *layers) first(name string) *Attribute {
	return &o.places[o.named[strings.ToLower(name)][0]][0]
}

func (o *layers) template() Template { return slices.Concat(o.places...) }

// without is the template without the attributes of the names.
func (t Template) without(names ...string) Template {
	return slices.DeleteFunc(slices.Clone(t), func(a Attribute) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(a.Name, name) })
	})
}

// Text is the template in OpenNebula's template language, in the form in which
// OneFlow writes it. An empty vector cannot be written and is left out.
func (t Template) Text() string {
	var text strings.Builder
	for _, attribute := range t {
		switch {
		case attribute.Vector == nil:
			fmt.Fprintf(&text, "%s = \"%s\"\n", attribute.Name, templateValue(attribute.Value))
		case len(attribute.Vector) > 0:
			lines := make([]string, len(attribute.Vector))
			for i, inner := range attribute.Vector {
				lines[i] = fmt.Sprintf("%s = \"%s\"", inner.Name, templateValue(inner.Value))
			}
			fmt.Fprintf(&text, "%s = [\n%s\n]\n", attribute.Name, strings.Join(lines, ",\n"))
		}
	}
	return text.String()
}

// templateValue escapes what would end a quoted value of a template. oned takes
// a backslash for itself unless a quote follows it, so one at the end of a
// value, which cannot be written, is kept apart from the closing quote.
func templateValue(value string) string {
	value = strings.ReplaceAll(value, `"`, `\"`)
	if strings.HasSuffix(value, `\`) {
		value += " "
	}
	return value
}
