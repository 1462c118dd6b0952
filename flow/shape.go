package flow

import (
	"bytes"
	"encoding/json"
)

// shape says which attributes an object has, by name. The value of one that has a
// shape itself is an object of that shape, a list of such objects, or null; any other's is
// anything.
type shape map[string]shape

// fits reports whether the text is a JSON object which has none but the attributes of the
// shape, as most objects have: then it need not be taken apart to find the others.
// It is sure where it says yes of valid JSON; it says no where a name is written with
// an escape, and mostly where the text is not valid.
func (s shape) fits(text []byte) bool { return s.object(text) != nil }

// object is what follows an object that fits, nil where none does. Even at the end
// of a text it is not nil.
func (s shape) object(text []byte) []byte {
	rest := bytes.TrimLeft(text, blanks)
	if len(rest) == 0 || rest[0] != '{' {
		return nil
	}
	rest = bytes.TrimLeft(rest[1:], blanks)
	for len(rest) > 0 && rest[0] == '"' {
		if rest = s.attribute(rest); len(rest) == 0 {
			return nil
		}
		if rest[0] == '}' {
			return rest[1:]
		}
		rest = bytes.TrimLeft(rest[1:], blanks)
	}
	if len(rest) > 0 && rest[0] == '}' {
		return rest[1:]
	}
	return nil
}

// attribute is the comma or brace behind a name and its value and what follows, nil
// where the shape has no such attribute.
func (s shape) attribute(text []byte) []byte {
	end := stringEnd(text)
	if end < 0 {
		return nil
	}
	elements, known := s[string(text[1:end-1])]
	if !known {
		return nil
	}
	rest := bytes.TrimLeft(text[end:], blanks)
	if len(rest) == 0 || rest[0] != ':' {
		return nil
	}
	rest = rest[1:]
	if elements != nil {
		rest = elements.value(rest)
	}
	if end = valueEnd(rest); end < 0 {
		return nil
	}
	return rest[end:]
}

// value is what follows an object that fits, a list of such objects, or null; nil where
// there is none of them.
func (s shape) value(text []byte) []byte {
	rest := bytes.TrimLeft(text, blanks)
	switch {
	case bytes.HasPrefix(rest, []byte("null")):
		return rest
	case len(rest) > 0 && rest[0] == '{':
		return s.object(rest)
	case len(rest) == 0 || rest[0] != '[':
		return nil
	}
	if rest = bytes.TrimLeft(rest[1:], blanks); len(rest) > 0 && rest[0] == ']' {
		return rest[1:]
	}
	for {
		rest = bytes.TrimLeft(s.object(rest), blanks)
		switch {
		case len(rest) > 0 && rest[0] == ',':
			rest = rest[1:]
		case len(rest) > 0 && rest[0] == ']':
			return rest[1:]
		default:
			return nil
		}
	}
}

// others are the attributes that the shape does not have, nil if there are none.
func (s shape) others(attributes object) map[string]json.RawMessage {
	var others map[string]json.RawMessage
	for name, value := range attributes {
		if _, known := s[name]; known {
			continue
		}
		if others == nil {
			others = map[string]json.RawMessage{}
		}
		others[name] = value
	}
	return others
}

// own are the attributes that the shape has, by their exact names.
func (s shape) own(attributes object) object {
	own := object{}
	for name, value := range attributes {
		if _, known := s[name]; known {
			own[name] = value
		}
	}
	return own
}

// blanks are what JSON lets stand between tokens.
const blanks = " \t\r\n"

// stringEnd is the length of the string literal at the start of a text, -1 if it
// does not end.
func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// valueEnd is where the comma or brace behind an attribute's value stands, -1 if
// there is none.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			length := stringEnd(text[i:])
			if length < 0 {
				return -1
			}
			i += length - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}
