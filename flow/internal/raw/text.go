package raw

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// Short is a value for a message: as it is, or its kind if it is long.
func Short(value json.RawMessage) string {
	if len(value) <= 40 {
		return string(value)
	}
	return string(KindOf(value))
}

// maxShown bounds a value in a message, in bytes.
const maxShown = 80

// Shown is a text for a message, cut where it is long: what is told of a mistake must not
// hold a whole body.
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

// Listed are names for a message, the first of them if they are many.
func Listed(names []string) string {
	if len(names) > MaxListed {
		names = append(slices.Clone(names[:MaxListed]), "…")
	}
	return strings.Join(names, ", ")
}

// Choices writes a list for people: a, b or c.
func Choices(values []string) string {
	last := len(values) - 1
	if last < 1 {
		return strings.Join(values, "")
	}
	return strings.Join(values[:last], ", ") + " or " + values[last]
}
