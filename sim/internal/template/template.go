// Package template has oned's templates: their two syntaxes, text and XML, with oned's messages about unreadable ones, and
// oned's rules for merging, filling and showing them. It knows no object.
package template

import (
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// Attribute is one entry of a template: a single value, or a vector of single attributes (NIC = [ ... ]).
type Attribute struct {
	Name     string   `json:"n"`
	Value    string   `json:"v,omitempty"`
	Vector   Template `json:"s,omitempty"`
	IsVector bool     `json:"x,omitempty"` // distinguishes an empty vector from an empty value
}

// Template has an object's attributes in the order of their names, as oned keeps and shows them; a name may occur several
// times.
type Template []Attribute

// Of returns single attributes with the names, each followed by its value.
func Of(namesAndValues ...string) Template {
	t := make(Template, len(namesAndValues)/2)
	for i := range t {
		t[i] = Attribute{Name: namesAndValues[2*i], Value: namesAndValues[2*i+1]}
	}
	return t
}

// Vector returns an attribute of several attributes, which it sorts.
func Vector(name string, inner ...Attribute) Attribute {
	Template(inner).Sort()
	return Attribute{Name: name, Vector: inner, IsVector: true}
}

// Sort puts the attributes in the order of their names.
func (t Template) Sort() {
	slices.SortStableFunc(t, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
}

// Text returns the value of a single attribute, "" without one.
func (t Template) Text(name string) string {
	for _, a := range t {
		if a.Name == name && !a.IsVector {
			return a.Value
		}
	}
	return ""
}

// Is reports whether a single attribute is YES.
func (t Template) Is(name string) bool { return strings.EqualFold(t.Text(name), "YES") }

// Has reports whether there is an attribute with the name.
func (t Template) Has(name string) bool {
	return slices.ContainsFunc(t, func(a Attribute) bool { return a.Name == name })
}

// Number returns a single attribute as a whole number, or the fallback.
func (t Template) Number(name string, fallback int) int {
	n, err := strconv.Atoi(strings.TrimSpace(t.Text(name)))
	if err != nil {
		return fallback
	}
	return n
}

// Vectors returns the vector attributes with a name.
func (t Template) Vectors(name string) []Attribute {
	return slices.DeleteFunc(slices.Clone(t), func(a Attribute) bool { return a.Name != name || !a.IsVector })
}

// Without returns the template without all attributes with the names.
func (t Template) Without(names ...string) Template {
	return slices.DeleteFunc(slices.Clone(t), func(a Attribute) bool { return slices.Contains(names, a.Name) })
}

// With returns the template with more attributes, in order.
func (t Template) With(added ...Attribute) Template {
	all := slices.Concat(t, Template(added))
	all.Sort()
	return all
}

// Set replaces a single attribute.
func (t Template) Set(name, value string) Template {
	return t.Without(name).With(Attribute{Name: name, Value: value})
}

// Merged returns oned's merge: an attribute of the other template replaces all with that name.
func (t Template) Merged(other Template) Template {
	return slices.DeleteFunc(slices.Clone(t), func(a Attribute) bool { return other.Has(a.Name) }).With(other...)
}

// BreaksXML reports whether a value holds the end of a CDATA section, or a name is no name of an XML element: oned neither
// repairs nor escapes these, and refuses its own XML.
func (t Template) BreaksXML() bool {
	return slices.ContainsFunc(t, func(a Attribute) bool {
		return strings.Contains(a.Value, "]]>") || a.Name == "" || a.Name[0] >= '0' && a.Name[0] <= '9' || a.Vector.BreaksXML()
	})
}

// WriteContent writes the attributes without the element around them.
func (t Template) WriteContent(w *xmlrpc.Writer) {
	for _, a := range t {
		if a.IsVector {
			a.Vector.Write(w, a.Name)
		} else {
			w.Fields(a.Name, xmlrpc.CDATA(a.Value))
		}
	}
}

// Write writes <name>attributes</name>.
func (t Template) Write(w *xmlrpc.Writer, name string) { w.Within(name, t.WriteContent) }

// Expand returns a value of CONTEXT with the values of $NAME filled in. ok is false for text that oned cannot read: a $
// without a name behind it or a backslash before it, which stays in the value. $NAME[...] refers to another object, which
// has no values here.
func Expand(text string, value func(name string) string) (filled string, ok bool) {
	var out strings.Builder
	for i := 0; i < len(text); {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			out.WriteString(text[i : i+2])
			i += 2
		case text[i] == '$':
			rest := text[i+1:]
			name := leading(rest, nameBytes)
			if name == 0 {
				return "", false
			}
			i += 1 + name
			if !strings.HasPrefix(rest[name:], "[") {
				out.WriteString(value(strings.ToUpper(rest[:name])))
				continue
			}
			end := strings.IndexByte(rest[name:], ']')
			if end < 0 {
				return "", false
			}
			i += end + 1
		default:
			out.WriteByte(text[i])
			i++
		}
	}
	return out.String(), true
}

// Unreadable returns oned's error about an unreadable variable in a VM's template, "" if there is none.
func (t Template) Unreadable() string {
	var values []string
	for _, context := range t.Vectors("CONTEXT") {
		for _, a := range context.Vector {
			values = append(values, a.Name+"="+a.Value)
		}
	}
	values = append(values, t.Text("SCHED_REQUIREMENTS"))
	for _, text := range values {
		if _, ok := Expand(text, func(string) string { return "" }); !ok {
			return "Error parsing: " + text + ". syntax error, unexpected EOA, expecting $end or VARIABLE or RSTRING at line 0, columns 1:2"
		}
	}
	return ""
}
