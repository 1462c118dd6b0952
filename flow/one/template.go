package one

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Template is an OpenNebula template: attributes in their order, the same name possibly several times.
type Template []Attribute

// Attribute is one entry of a Template: a text, or a vector of attributes.
type Attribute struct {
	Name  string
	Value string
	// Vector is nil for a text.
	Vector Template
}

// Lookup finds a text by its path, such as TEMPLATE, CONTEXT, ETH0_IP. Names are compared without regard to case; of several vectors of one
// name the first that has the text counts.
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

// Find finds a text as Lookup does, or else within the template's vectors, whichever has it first.
func (t Template) Find(path ...string) (string, bool) {
	if value, found := t.Lookup(path...); found {
		return value, true
	}
	for _, attribute := range t {
		if value, found := attribute.Vector.Find(path...); found {
			return value, true
		}
	}
	return "", false
}

// Without returns the template without the attributes that oned reads as one of the names: it drops all characters other than letters,
// digits and _ before or behind a name.
func (t Template) Without(names ...string) Template {
	return slices.DeleteFunc(slices.Clone(t), func(a Attribute) bool {
		known := strings.TrimFunc(a.Name, func(r rune) bool {
			return r > unicode.MaxASCII || r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		})
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(known, name) })
	})
}

// Text returns the template in OpenNebula's template language, formatted as OneFlow does. An empty vector cannot be written and is left
// out.
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

// Escape escapes what would end a quoted value of a template. oned keeps a backslash unless a quote follows it, so a backslash at the end
// of a value, which cannot be written, is kept apart from the closing quote.
func Escape(value string) string {
	value = strings.ReplaceAll(value, `"`, `\"`)
	if strings.HasSuffix(value, `\`) {
		value += " "
	}
	return value
}

// listAttributes are the attributes of a VM template that become arrays even if they are there once.
var listAttributes = map[string]bool{
	"DISK": true, "NIC": true, "NIC_ALIAS": true, "PCI": true, "INPUT": true, "SCHED_ACTION": true,
}

// ParseTemplate parses OpenNebula's template language, as far as templates of VMs use it: NAME = value, NAME = "value", NAME = [ KEY =
// "value", ... ], and comments. Vectors become objects; repeated attributes become an array, in order.
func ParseTemplate(text string) (map[string]any, error) {
	parser := templateParser{text: text}
	attributes := map[string]any{}
	const between = " \t\r\n;," // oned refuses a comma there, but forms have written them
	for parser.skip(between); !parser.done(); parser.skip(between) {
		name, value, err := parser.attribute("\n")
		if err != nil {
			return nil, err
		}
		_, isVector := value.(map[string]any)
		switch earlier := attributes[name].(type) {
		case nil:
			if isVector && listAttributes[name] {
				value = []any{value}
			}
			attributes[name] = value
		case []any:
			attributes[name] = append(earlier, value)
		default:
			attributes[name] = []any{earlier, value}
		}
	}
	return attributes, nil
}

// templateParser is more lenient than lexer, and has no token in common with it: names, separators, quotation marks, escapes, and where a bare
// value ends all differ.
type templateParser struct {
	text     string
	position int
	read     int // attributes
}

func (p *templateParser) done() bool { return p.position >= len(p.text) }

// skip moves past the characters given, and past comments.
func (p *templateParser) skip(characters string) {
	for !p.done() {
		switch c := p.text[p.position]; {
		case strings.IndexByte(characters, c) >= 0:
			p.position++
		case c == '#':
			p.until("\n")
		default:
			return
		}
	}
}

// until reads the text before the first of the characters given.
func (p *templateParser) until(characters string) string {
	read := p.text[p.position:]
	if end := strings.IndexAny(read, characters); end >= 0 {
		read = read[:end]
	}
	p.position += len(read)
	return read
}

// attribute reads NAME = value; a bare value ends at any of the characters in end.
func (p *templateParser) attribute(end string) (string, any, error) {
	if p.read++; p.read > MaxAttributes {
		return "", nil, fmt.Errorf("has more than %d attributes", MaxAttributes)
	}
	start := p.position
	name := strings.TrimRight(p.until("=\n"), " \t\r")
	if p.done() || p.text[p.position] != '=' || name == "" || strings.ContainsAny(name, " \t\"[],") {
		return "", nil, expected("NAME = value", p.text[:start])
	}
	p.position++
	p.skip(" \t\r")
	lineEnd := p.position
	p.skip(" \t\r\n")
	if p.done() || strings.IndexByte("\"'[", p.text[p.position]) < 0 {
		p.position = lineEnd // a bare value is on the line of its name: behind an empty one the next attribute follows
	}
	value, err := p.value(end)
	return strings.ToUpper(name), value, err
}

// value reads a value: "text", 'text', or, unless it is a vector's, [ KEY = "value", ... ].
func (p *templateParser) value(end string) (any, error) {
	start := p.position
	if p.done() {
		return "", nil
	}
	switch first := p.text[start]; {
	case first == '"' || first == '\'':
		var value strings.Builder
		for p.position++; !p.done(); p.position++ {
			c := p.text[p.position]
			if c == first {
				p.position++
				return value.String(), nil
			}
			if c == '\\' && p.position+1 < len(p.text) && strings.IndexByte(`"'\`, p.text[p.position+1]) >= 0 {
				p.position++
				c = p.text[p.position]
			}
			value.WriteByte(c)
		}
		return nil, expected("a closing quote", p.text[:start])
	case first == '[' && end == "\n":
		p.position++
		vector := map[string]any{}
		for p.skip(" \t\r\n,"); !p.done() && p.text[p.position] != ']'; p.skip(" \t\r\n,") {
			key, value, err := p.attribute(",]\n")
			if err != nil {
				return nil, err
			}
			vector[key] = value
		}
		if p.done() {
			return nil, expected("a closing ]", p.text[:start])
		}
		p.position++
		return vector, nil
	}
	return strings.TrimSpace(p.until(end)), nil
}

// expected returns the error for a text in which something was expected behind the part that was read.
func expected(what, read string) error {
	return fmt.Errorf("cannot be read: line %d: %s was expected", 1+strings.Count(read, "\n"), what)
}

// MaxAttributes limits a text in OpenNebula's template language, attributes in vectors included: one takes 4 bytes.
const MaxAttributes = 10_000

// Unstorable returns why oned cannot store a text as a value or name, empty if it can.
func Unstorable(text string) string {
	switch {
	case strings.Contains(text, "]]>"):
		return `contains "]]>", which oned cannot store`
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF }):
		return "contains a control character, which oned cannot store"
	case BeyondBMP(text):
		return "contains an emoji or another character above U+FFFF, which oned cannot read"
	}
	return ""
}

// BeyondBMP reports whether a text has characters outside of Unicode's Basic Multilingual
// Plane. oned's XML-RPC library refuses a call with one (fault -503).
func BeyondBMP(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r > 0xFFFF })
}
