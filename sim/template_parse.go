package sim

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The limits of a template. oned's own are far above what services need.
const (
	maxAttributes  = 10_000
	maxNameLength  = 256
	maxVectorDepth = 2
)

// parseTemplate reads a template in either of oned's two forms: text
// (A = "b" and NIC = [ X = "y", Z = "w" ]) or XML with any root element.
func parseTemplate(text string) (template, error) {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return nil, nil
	}
	var (
		parsed template
		err    error
	)
	if strings.HasPrefix(trimmed, "<") {
		var plain bool
		if parsed, plain = plainTemplate(trimmed); !plain {
			parsed, err = parseXMLTemplate(trimmed)
		}
	} else {
		parsed, err = parseTextTemplate(trimmed)
	}
	if err != nil {
		return nil, err
	}
	sortAttributes(parsed)
	return parsed, nil
}

// parseXMLTemplate reads <TEMPLATE><A>b</A><NIC><X>y</X></NIC></TEMPLATE>.
func parseXMLTemplate(text string) (template, error) {
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("XML template: %w", err)
		}
		if _, isStart := token.(xml.StartElement); isStart {
			root, err := readXMLAttribute(decoder, "", 0)
			return root.Vector, err
		}
	}
}

// readXMLAttribute reads up to the end of the element whose start was read.
func readXMLAttribute(decoder *xml.Decoder, name string, depth int) (attribute, error) {
	if depth > maxVectorDepth {
		return attribute{}, fmt.Errorf("XML template: %s is nested too deeply", name)
	}
	result := attribute{Name: strings.ToUpper(name)}
	var text strings.Builder
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return attribute{}, errors.New("XML template: it ends in the middle")
		}
		if err != nil {
			return attribute{}, fmt.Errorf("XML template: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			inner, err := readXMLAttribute(decoder, t.Name.Local, depth+1)
			if err != nil {
				return attribute{}, err
			}
			result.IsVector = true
			result.Vector = append(result.Vector, inner)
			if len(result.Vector) > maxAttributes {
				return attribute{}, errors.New("XML template: too many attributes")
			}
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			if !result.IsVector {
				result.Value = text.String()
			}
			sortAttributes(result.Vector)
			return result, nil
		}
	}
}

// parseTextTemplate reads oned's own template syntax.
func parseTextTemplate(text string) (template, error) {
	scanner := &templateScanner{text: text, line: 1}
	var parsed template
	for {
		scanner.skipBlanks(true)
		if scanner.done() {
			return parsed, nil
		}
		entry, err := scanner.attribute()
		if err != nil {
			return nil, fmt.Errorf("syntax error at line %d: %w", scanner.line, err)
		}
		parsed = append(parsed, entry)
		if len(parsed) > maxAttributes {
			return nil, errors.New("too many attributes")
		}
	}
}

// templateScanner walks over a template text.
type templateScanner struct {
	text string
	at   int
	line int
}

func (s *templateScanner) done() bool { return s.at >= len(s.text) }

func (s *templateScanner) peek() byte {
	if s.done() {
		return 0
	}
	return s.text[s.at]
}

// skipBlanks passes blanks and comments; over lines where lines is true.
func (s *templateScanner) skipBlanks(lines bool) {
	for !s.done() {
		switch c := s.peek(); {
		case c == '\n' && !lines:
			return
		case c == '\n':
			s.line++
			s.at++
		case c == ' ' || c == '\t' || c == '\r':
			s.at++
		case c == '#' && lines:
			for !s.done() && s.peek() != '\n' {
				s.at++
			}
		default:
			return
		}
	}
}

func (s *templateScanner) attribute() (attribute, error) {
	name, err := s.name()
	if err != nil {
		return attribute{}, err
	}
	if s.peek() == '[' {
		return s.vector(name)
	}
	value, err := s.value("\n")
	return single(name, value), err
}

// name reads NAME and the = behind it.
func (s *templateScanner) name() (string, error) {
	start := s.at
	for !s.done() && isNameByte(s.peek()) {
		s.at++
	}
	name := strings.ToUpper(s.text[start:s.at])
	if name == "" || len(name) > maxNameLength {
		return "", fmt.Errorf("an attribute's name is expected, not %q", excerpt(s.text[start:]))
	}
	s.skipBlanks(false)
	if s.peek() != '=' {
		return "", fmt.Errorf("= is expected behind %s", name)
	}
	s.at++
	s.skipBlanks(false)
	return name, nil
}

func isNameByte(c byte) bool {
	return c == '_' || c == '-' || c == '.' || c == '/' || c == ':' ||
		c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// value reads a quoted value, or a bare one up to one of the stops.
func (s *templateScanner) value(stops string) (string, error) {
	if s.peek() == '"' {
		return s.quoted()
	}
	start := s.at
	for !s.done() && !strings.ContainsRune(stops, rune(s.peek())) {
		s.at++
	}
	return strings.TrimSpace(s.text[start:s.at]), nil
}

// quoted reads "..." where \" is a quote and every other backslash stays.
func (s *templateScanner) quoted() (string, error) {
	s.at++
	var value strings.Builder
	for !s.done() {
		c := s.peek()
		s.at++
		switch {
		case c == '"':
			return value.String(), nil
		case c == '\\' && s.peek() == '"':
			value.WriteByte('"')
			s.at++
		default:
			if c == '\n' {
				s.line++
			}
			value.WriteByte(c)
		}
	}
	return "", errors.New("a quoted value has no end")
}

func (s *templateScanner) vector(name string) (attribute, error) {
	s.at++
	var inner []attribute
	for {
		s.skipBlanks(true)
		switch s.peek() {
		case 0:
			return attribute{}, fmt.Errorf("%s = [ has no end", name)
		case ']':
			s.at++
			return vector(name, inner...), nil
		case ',':
			s.at++
			continue
		}
		key, err := s.name()
		if err != nil {
			return attribute{}, err
		}
		value, err := s.value(",]\n")
		if err != nil {
			return attribute{}, err
		}
		inner = append(inner, single(key, value))
		if len(inner) > maxAttributes {
			return attribute{}, fmt.Errorf("%s has too many attributes", name)
		}
	}
}

// excerpt is the beginning of a text, for messages.
func excerpt(text string) string {
	if len(text) > 20 {
		return text[:20]
	}
	return text
}
