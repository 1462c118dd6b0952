// Package raw reads JSON values that documents keep unchanged, and formats them for messages.
package raw

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Object is a JSON object whose values have not been parsed.
type Object map[string]json.RawMessage

// JSON returns the object as JSON.
func (o Object) JSON() json.RawMessage { return Marshal(o) }

// HasOne reports whether the object has exactly one of the attributes.
func (o Object) HasOne(attributes ...string) bool {
	count := 0
	for _, attribute := range attributes {
		if _, has := o[attribute]; has {
			count++
		}
	}
	return count == 1
}

// SetDefault sets an attribute that the object does not have.
func SetDefault(o Object, attribute, value string) {
	if _, has := o[attribute]; !has {
		o[attribute] = json.RawMessage(value)
	}
}

// Kind is a kind of JSON value, as messages name it.
type Kind string

// The kinds of JSON value.
const (
	KindObject  Kind = "an object"
	KindArray   Kind = "an array"
	KindText    Kind = "a string"
	KindBoolean Kind = "a boolean"
	KindNull    Kind = "null"
	KindNumber  Kind = "a number"
)

// KindOf returns a valid JSON value's kind, by its first byte.
func KindOf(value []byte) Kind {
	value = bytes.TrimLeft(value, " \t\r\n")
	if len(value) == 0 {
		return KindNull
	}
	switch value[0] {
	case '{':
		return KindObject
	case '[':
		return KindArray
	case '"':
		return KindText
	case 't', 'f':
		return KindBoolean
	case 'n':
		return KindNull
	}
	return KindNumber
}

// Text returns a JSON text's value; empty for anything else.
func Text(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}

// Plain returns a text itself, and any other value as JSON.
func Plain(value json.RawMessage) string {
	switch KindOf(value) {
	case KindText:
		return Text(value)
	case KindNull:
		return ""
	}
	return string(value)
}

// Whole parses a whole number, which clients write as a text too.
func Whole(value json.RawMessage) (int, bool) {
	number, err := strconv.Atoi(Plain(value))
	return number, err == nil
}

// Elements returns the elements of an array; nil for anything else.
func Elements(array json.RawMessage) []json.RawMessage {
	elements := []json.RawMessage{}
	if KindOf(array) != KindArray || json.Unmarshal(array, &elements) != nil {
		return nil
	}
	return elements
}

// List returns the elements of an array, or another value as the only element: OpenNebula writes lists of one so.
func List(value json.RawMessage) []json.RawMessage {
	if KindOf(value) == KindArray {
		return Elements(value)
	}
	return []json.RawMessage{value}
}

// Objects returns the elements of an array of objects; nil for anything else.
func Objects(array json.RawMessage) []Object {
	var elements []Object
	if len(array) == 0 || json.Unmarshal(array, &elements) != nil {
		return nil
	}
	return elements
}

// Changed returns an array after change was called for each of its objects; change reports whether it changed one. Anything else is
// returned as it is written.
func Changed(array json.RawMessage, change func(i int, element Object) bool) json.RawMessage {
	elements, changed := Elements(array), false
	for i, element := range elements {
		if object := Attributes(element); object != nil && change(i, object) {
			elements[i], changed = object.JSON(), true
		}
	}
	if !changed {
		return array
	}
	return Marshal(elements)
}

// Attributes returns the attributes of an object; nil for anything else.
func Attributes(value json.RawMessage) Object {
	var attributes Object
	if KindOf(value) != KindObject || json.Unmarshal(value, &attributes) != nil {
		return nil
	}
	return attributes
}

// Count returns how many elements or attributes a valid array or object has, without keeping them.
func Count(value json.RawMessage) int {
	reader := jsontext.NewDecoder(bytes.NewReader(value), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	count := 0
	for _, err := reader.ReadToken(); err == nil && reader.StackDepth() > 0 && reader.SkipValue() == nil; {
		count++
	}
	if KindOf(value) == KindObject {
		return count / 2
	}
	return count
}

// Equal reports whether two values mean the same.
func Equal(a, b json.RawMessage) bool {
	var first, second any
	return json.Unmarshal(a, &first) == nil && json.Unmarshal(b, &second) == nil && reflect.DeepEqual(first, second)
}

// Marshal encodes a value that was read from JSON before, which cannot fail.
func Marshal(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic("flow: write what was read as JSON: " + err.Error())
	}
	return text
}

// Short returns a value for a message, or its kind if it is long.
func Short(value json.RawMessage) string {
	if len(value) <= 40 {
		return string(value)
	}
	return string(KindOf(value))
}

const maxShown = 80

// Shown returns a text for a message, cut where it is long: a message about a mistake must not hold a whole body.
func Shown(text string) string {
	if len(text) <= maxShown {
		return text
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}

// MaxListed bounds how many names a message lists.
const MaxListed = 20

// Listed formats names for a message, only the first of them if they are many.
func Listed(names []string) string {
	if len(names) > MaxListed {
		names = append(slices.Clone(names[:MaxListed]), "…")
	}
	return strings.Join(names, ", ")
}

// Choices formats a list for people: a, b or c.
func Choices(values []string) string {
	last := len(values) - 1
	if last < 1 {
		return strings.Join(values, "")
	}
	return strings.Join(values[:last], ", ") + " or " + values[last]
}

// EscapeBeyondBMP returns a JSON text with its characters above U+FFFF as \uD83D\uDE00 and the like.
func EscapeBeyondBMP(text []byte) []byte {
	if !slices.ContainsFunc(text, func(b byte) bool { return b >= 0xF0 }) { // with it such a character begins in UTF-8
		return text
	}
	var escaped bytes.Buffer
	for _, r := range string(text) {
		if r > 0xFFFF {
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&escaped, `\u%04x\u%04x`, high, low)
			continue
		}
		escaped.WriteRune(r)
	}
	return escaped.Bytes()
}
