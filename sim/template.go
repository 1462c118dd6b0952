package sim

import (
	"slices"
	"strconv"
	"strings"
)

// attribute is one entry of a template: a single value, or a vector of
// single attributes (NIC = [ ... ]).
type attribute struct {
	Name   string      `json:"n"`
	Value  string      `json:"v,omitempty"`
	Vector []attribute `json:"s,omitempty"`
	// IsVector tells an empty vector from an empty value.
	IsVector bool `json:"x,omitempty"`
}

// template is an object's attributes in the order of their names, as oned
// keeps and shows them; the same name may stand in it several times.
type template []attribute

func single(name, value string) attribute { return attribute{Name: name, Value: value} }

func vector(name string, inner ...attribute) attribute {
	sortAttributes(inner)
	return attribute{Name: name, Vector: inner, IsVector: true}
}

func sortAttributes(list []attribute) {
	slices.SortStableFunc(list, func(a, b attribute) int { return strings.Compare(a.Name, b.Name) })
}

// text is the value of a single attribute, "" without one.
func (t template) text(name string) string {
	for _, a := range t {
		if a.Name == name && !a.IsVector {
			return a.Value
		}
	}
	return ""
}

func (t template) has(name string) bool {
	return slices.ContainsFunc(t, func(a attribute) bool { return a.Name == name })
}

// number is a single attribute as a whole number, or the fallback.
func (t template) number(name string, fallback int) int {
	n, err := strconv.Atoi(strings.TrimSpace(t.text(name)))
	if err != nil {
		return fallback
	}
	return n
}

// vectors are the vector attributes of a name.
func (t template) vectors(name string) []attribute {
	var found []attribute
	for _, a := range t {
		if a.Name == name && a.IsVector {
			found = append(found, a)
		}
	}
	return found
}

// inner is a vector's content as a template.
func (a attribute) inner() template { return a.Vector }

// without is the template without every attribute of the names.
func (t template) without(names ...string) template {
	kept := make(template, 0, len(t))
	for _, a := range t {
		if !slices.Contains(names, a.Name) {
			kept = append(kept, a)
		}
	}
	return kept
}

// with is the template with attributes added in their place.
func (t template) with(added ...attribute) template {
	all := make(template, 0, len(t)+len(added))
	all = append(append(all, t...), added...)
	sortAttributes(all)
	return all
}

// set replaces a single attribute.
func (t template) set(name, value string) template {
	return t.without(name).with(single(name, value))
}

// merged is oned's merge: an attribute of the other one replaces all of that
// name.
func (t template) merged(other template) template {
	return t.without(other.names()...).with(other...)
}

// breaksXML reports whether a value holds the end of a CDATA section, or a name
// is none of an XML element: oned mends and escapes neither, and refuses its own XML.
func (t template) breaksXML() bool {
	for _, a := range t {
		if strings.Contains(a.Value, "]]>") || a.Name == "" || a.Name[0] >= '0' && a.Name[0] <= '9' || template(a.Vector).breaksXML() {
			return true
		}
	}
	return false
}

func (t template) names() []string {
	names := make([]string, 0, len(t))
	for _, a := range t {
		names = append(names, a.Name)
	}
	return names
}

// writeContent writes the attributes without the element around them.
func (t template) writeContent(b *xmlWriter) {
	for _, a := range t {
		if !a.IsVector {
			cdata(b, a.Name, a.Value)
			continue
		}
		open(b, a.Name)
		template(a.Vector).writeContent(b)
		shut(b, a.Name)
	}
}

// write writes <name>attributes</name>.
func (t template) write(b *xmlWriter, name string) {
	open(b, name)
	t.writeContent(b)
	shut(b, name)
}
