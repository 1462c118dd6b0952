package flow

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// short is a value for a message: as it is, or its kind if it is long.
func short(value json.RawMessage) string {
	if len(value) <= 40 {
		return string(value)
	}
	return string(kindOf(value))
}

// maxShown bounds a value in a message, in bytes.
const maxShown = 80

// shown is a text for a message, cut where it is long: what is told of a mistake must not
// hold a whole body.
func shown(text string) string {
	if len(text) <= maxShown {
		return text
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}

// maxNamed bounds how many names a message lists.
const maxNamed = 20

// listed are names for a message, the first of them if they are many.
func listed(names []string) string {
	if len(names) > maxNamed {
		names = append(slices.Clone(names[:maxNamed]), "…")
	}
	return strings.Join(names, ", ")
}

// choices writes a list for people: a, b or c.
func choices(values []string) string {
	last := len(values) - 1
	if last < 1 {
		return strings.Join(values, "")
	}
	return strings.Join(values[:last], ", ") + " or " + values[last]
}
