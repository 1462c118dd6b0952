package one

import (
	"fmt"
	"strings"
)

// listAttributes are the attributes of a VM template that can be there several
// times. They become arrays even if they are there once.
var listAttributes = map[string]bool{
	"DISK": true, "NIC": true, "NIC_ALIAS": true, "PCI": true, "INPUT": true, "SCHED_ACTION": true,
}

// ParseTemplate reads OpenNebula's template language, as far as templates
// of VMs go: NAME = value, NAME = "value", NAME = [ KEY = "value", ... ], and
// comments. Vectors become objects; what is there several times becomes an
// array, in order.
func ParseTemplate(text string) (map[string]any, error) {
	parser := templateParser{text: text}
	attributes := map[string]any{}
	const between = " \t\r\n;," // oned takes no comma there, but forms have written them
	for parser.skip(between); !parser.done(); parser.skip(between) {
		name, value, err := parser.attribute("\n")
		if err != nil {
			return nil, err
		}
		attributes[name] = another(attributes[name], value, listAttributes[name])
	}
	return attributes, nil
}

// another is an attribute's value after one more was found.
func another(known, value any, list bool) any {
	_, isVector := value.(map[string]any)
	switch earlier := known.(type) {
	case nil:
		if list && isVector {
			return []any{value}
		}
		return value
	case []any:
		return append(earlier, value)
	}
	return []any{known, value}
}

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
			p.position += len(p.until("\n"))
		default:
			return
		}
	}
}

// until is the text from here to the first of the characters.
func (p *templateParser) until(characters string) string {
	rest := p.text[p.position:]
	if end := strings.IndexAny(rest, characters); end >= 0 {
		return rest[:end]
	}
	return rest
}

// attribute reads NAME = value; a bare value ends at one of the characters.
func (p *templateParser) attribute(end string) (string, any, error) {
	if p.read++; p.read > MaxAttributes {
		return "", nil, fmt.Errorf("has more than %d attributes", MaxAttributes)
	}
	start := p.position
	name := strings.TrimRight(p.until("=\n"), " \t\r")
	p.position += len(p.until("=\n"))
	if p.done() || p.text[p.position] != '=' || name == "" || strings.ContainsAny(name, " \t\"[],") {
		return "", nil, p.wrong(start, "NAME = value")
	}
	p.position++
	p.skip(" \t\r\n")
	value, err := p.value(end)
	return strings.ToUpper(name), value, err
}

func (p *templateParser) value(end string) (any, error) {
	if p.done() {
		return "", nil
	}
	switch c := p.text[p.position]; {
	case c == '"' || c == '\'':
		return p.quoted(c)
	case c == '[' && end == "\n":
		return p.vector()
	}
	value := p.until(end)
	p.position += len(value)
	return strings.TrimSpace(value), nil
}

func (p *templateParser) quoted(quote byte) (any, error) {
	start := p.position
	var value strings.Builder
	for p.position++; !p.done(); p.position++ {
		c := p.text[p.position]
		if c == quote {
			p.position++
			return value.String(), nil
		}
		if c == '\\' && p.position+1 < len(p.text) && strings.IndexByte(`"'\`, p.text[p.position+1]) >= 0 {
			p.position++
			c = p.text[p.position]
		}
		value.WriteByte(c)
	}
	return nil, p.wrong(start, "a closing quote")
}

// vector reads [ KEY = value, ... ].
func (p *templateParser) vector() (any, error) {
	start := p.position
	p.position++
	vector := map[string]any{}
	for {
		p.skip(" \t\r\n,")
		if p.done() {
			return nil, p.wrong(start, "a closing ]")
		}
		if p.text[p.position] == ']' {
			p.position++
			return vector, nil
		}
		key, value, err := p.attribute(",]\n")
		if err != nil {
			return nil, err
		}
		vector[key] = value
	}
}

func (p *templateParser) wrong(position int, expected string) error {
	line := 1 + strings.Count(p.text[:position], "\n")
	return fmt.Errorf("cannot be read: line %d: %s was expected", line, expected)
}
