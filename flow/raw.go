package flow

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
)

// object is a JSON object whose values have not been read.
type object map[string]json.RawMessage

// text is the object as JSON.
func (o object) text() json.RawMessage { return mustMarshal(o) }

// hasOne reports whether the object has exactly one of the attributes.
func (o object) hasOne(attributes ...string) bool {
	count := 0
	for _, attribute := range attributes {
		if _, has := o[attribute]; has {
			count++
		}
	}
	return count == 1
}

// unread is the object as a tree whose leaves are JSON that has not been read.
func (o object) unread() any {
	if o == nil {
		return nil
	}
	tree := make(map[string]any, len(o))
	for name, value := range o {
		tree[name] = value
	}
	return tree
}

// setDefault sets an attribute that the object does not have.
func setDefault(o object, attribute, value string) {
	if _, has := o[attribute]; !has {
		o[attribute] = json.RawMessage(value)
	}
}

// kind is a kind of JSON value, as it is named to people.
type kind string

// The kinds of JSON value.
const (
	kindObject  kind = "an object"
	kindArray   kind = "an array"
	kindText    kind = "a text"
	kindBoolean kind = "a boolean"
	kindNull    kind = "null"
	kindNumber  kind = "a number"
)

// kindOf tells a valid JSON value's kind by its first byte.
func kindOf(value []byte) kind {
	value = bytes.TrimLeft(value, " \t\r\n")
	if len(value) == 0 {
		return kindNull
	}
	switch value[0] {
	case '{':
		return kindObject
	case '[':
		return kindArray
	case '"':
		return kindText
	case 't', 'f':
		return kindBoolean
	case 'n':
		return kindNull
	}
	return kindNumber
}

// textOf is a JSON text's value; empty if it is something else.
func textOf(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}

// plainText is a text itself, and of any other value its JSON.
func plainText(value json.RawMessage) string {
	switch kindOf(value) {
	case kindText:
		return textOf(value)
	case kindNull:
		return ""
	}
	return string(value)
}

// wholeOf reads a whole number, which clients write as a text too.
func wholeOf(value json.RawMessage) (int, bool) {
	number, err := strconv.Atoi(plainText(value))
	return number, err == nil
}

// isFilledArray reports whether a value is an array that is not empty.
func isFilledArray(value json.RawMessage) bool {
	if len(value) == 0 {
		return false // most roles have no policies
	}
	var elements []json.RawMessage
	return json.Unmarshal(value, &elements) == nil && len(elements) > 0
}

// elementsOf are the elements of an array; nil if it is something else.
func elementsOf(array json.RawMessage) []json.RawMessage {
	elements := []json.RawMessage{}
	if json.Unmarshal(array, &elements) != nil {
		return nil
	}
	return elements
}

// objectsOf are the elements of an array of objects; nil if it is something else.
func objectsOf(array json.RawMessage) []object {
	var elements []object
	if len(array) == 0 || json.Unmarshal(array, &elements) != nil {
		return nil
	}
	return elements
}

// attributesOf are the attributes of an object; nil if it is something else.
func attributesOf(value json.RawMessage) object {
	var attributes object
	if json.Unmarshal(value, &attributes) != nil {
		return nil
	}
	return attributes
}

// countOf is how many elements or attributes a valid array or object has, without reading
// them.
func countOf(value json.RawMessage) int {
	depth, commas, empty := 0, 0, true
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case ' ', '\t', '\r', '\n':
			continue
		case '"':
			for i++; i < len(value) && value[i] != '"'; i++ {
				if value[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if depth++; depth == 1 {
				continue
			}
		case '}', ']':
			if depth--; depth == 0 {
				continue
			}
		case ',':
			if depth == 1 {
				commas++
			}
		}
		empty = false
	}
	if empty {
		return 0
	}
	return commas + 1
}

// equalJSON reports whether two values mean the same.
func equalJSON(a, b json.RawMessage) bool {
	var first, second any
	return json.Unmarshal(a, &first) == nil && json.Unmarshal(b, &second) == nil && reflect.DeepEqual(first, second)
}

// mustMarshal writes what was read from JSON before, which cannot fail.
func mustMarshal(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic("flow: write what was read as JSON: " + err.Error())
	}
	return text
}
