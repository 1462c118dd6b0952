package one

import "strings"

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
