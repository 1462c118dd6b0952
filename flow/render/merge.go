package render

import (
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
)

// contentsEntry is one attribute of template_contents: what an object, an array
// of objects or a text stands for.
type contentsEntry struct {
	name       string
	object     bool
	attributes []one.Attribute
}

// merged is the template with contents laid over it, as OneFlow 7.4 does:
// objects merge attribute by attribute, everything else takes the place of all
// that had the name. What contents of OneFlow 6 name in APPEND is added to what the
// template has.
func merged(template one.Template, contents []contentsEntry) one.Template {
	merged, appended := newLayers(template), appendedNames(contents)
	for _, entry := range contents {
		switch {
		case entry.name == appendAttribute:
		case appended[entry.name]:
			merged.add(entry.name, entry.attributes)
		case entry.object && merged.hasVector(entry.name):
			vector := &merged.first(entry.name).Vector
			*vector = over(*vector, entry.attributes[0].Vector)
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
func over(vector, other one.Template) one.Template {
	merged := newLayers(vector)
	for _, attribute := range other {
		merged.replace(attribute.Name, []one.Attribute{attribute})
	}
	return merged.template()
}

// layers are a template and the attributes that are laid over it. They know where those of a
// name are, so that a long list takes time in proportion to its length.
type layers struct {
	// places hold the attributes in their order, those of one name at each place.
	places [][]one.Attribute
	// named are the places with attributes of a name, in lower case.
	named map[string][]int
}

func newLayers(t one.Template) *layers {
	o := &layers{named: map[string][]int{}}
	for _, attribute := range t {
		o.add(attribute.Name, []one.Attribute{attribute})
	}
	return o
}

// add puts attributes of a name at the end.
func (o *layers) add(name string, attributes []one.Attribute) {
	if len(attributes) == 0 {
		return
	}
	name = strings.ToLower(name)
	o.named[name] = append(o.named[name], len(o.places))
	o.places = append(o.places, attributes)
}

// replace puts attributes of a name where the first one stood, and takes the others away.
func (o *layers) replace(name string, attributes []one.Attribute) {
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

func (o *layers) first(name string) *one.Attribute {
	return &o.places[o.named[strings.ToLower(name)][0]][0]
}

func (o *layers) template() one.Template { return slices.Concat(o.places...) }
