package one

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
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

// Without is the template without the attributes that oned takes for those of the names: it
// drops what else than letters, digits and _ stands before or behind a name.
func (t Template) Without(names ...string) Template {
	return slices.DeleteFunc(slices.Clone(t), func(a Attribute) bool {
		known := strings.TrimFunc(a.Name, func(r rune) bool {
			return r > unicode.MaxASCII || r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		})
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(known, name) })
	})
}

// Text is the template in OpenNebula's template language, in the form in which
// OneFlow writes it. An empty vector cannot be written and is left out.
func (t Template) Text() string {
	var text strings.Builder
	for _, attribute := range t {
		switch {
		case attribute.Vector == nil:
			fmt.Fprintf(&text, "%s = \"%s\"\n", attribute.Name, Escape(attribute.Value))
		case len(attribute.Vector) > 0:
			lines := make([]string, len(attribute.Vector))
			for i, inner := range attribute.Vector {
				lines[i] = fmt.Sprintf("%s = \"%s\"", inner.Name, Escape(inner.Value))
			}
			fmt.Fprintf(&text, "%s = [\n%s\n]\n", attribute.Name, strings.Join(lines, ",\n"))
		}
	}
	return text.String()
}

// Escape escapes what would end a quoted value of a template. oned takes
// a backslash for itself unless a quote follows it, so one at the end of a
// value, which cannot be written, is kept apart from the closing quote.
func Escape(value string) string {
	value = strings.ReplaceAll(value, `"`, `\"`)
	if strings.HasSuffix(value, `\`) {
		value += " "
	}
	return value
}
