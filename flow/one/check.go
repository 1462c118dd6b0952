package one

import "strings"

// CheckTemplate returns an error where a text in OpenNebula's template language is not
// one. What only oned can tell it leaves to oned, to which ' is a character like others.
func CheckTemplate(text string) error {
	_, err := ParseTemplate(strings.ReplaceAll(text, "'", ""))
	return err
}

// MaxAttributes is for a text in OpenNebula's template language, those in vectors
// included: it takes 4 bytes to write one.
const MaxAttributes = 10_000
