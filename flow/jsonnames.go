package flow

import "bytes"

// onlyNames says that the text is a JSON object whose attributes all have one of
// the names, as most objects have: then it need not be taken apart to find the
// others. It is sure where it says yes of valid JSON; it says no where a name is
// written with an escape, and mostly where the text is not valid.
func onlyNames(text []byte, names map[string]bool) bool {
	rest := bytes.TrimLeft(text, blanks)
	if len(rest) == 0 || rest[0] != '{' {
		return false
	}
	rest = bytes.TrimLeft(rest[1:], blanks)
	for len(rest) > 0 && rest[0] == '"' {
		end := stringEnd(rest)
		if end < 0 || !names[string(rest[1:end-1])] {
			return false
		}
		rest = bytes.TrimLeft(rest[end:], blanks)
		if len(rest) == 0 || rest[0] != ':' {
			return false
		}
		end = valueEnd(rest[1:])
		if end < 0 {
			return false
		}
		if rest = rest[1+end:]; rest[0] == '}' {
			return true
		}
		rest = bytes.TrimLeft(rest[1:], blanks)
	}
	return len(rest) > 0 && rest[0] == '}'
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
