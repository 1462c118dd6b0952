package onexml

import "bytes"

const openCDATA, closeCDATA = "<![CDATA[", "]]>"

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// nameSize returns the length of the name at the start of a text.
func nameSize(text []byte) int {
	for i, c := range text {
		if !partOfName(c) {
			return i
		}
		if i == 0 && (c == '-' || c == '.' || '0' <= c && c <= '9') {
			return 0
		}
	}
	return len(text)
}

func partOfName(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '_' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == ':' || c >= 0x80
}

// tagEnd returns where the tag ends that a text begins with, past ">" in the
// values of attributes; -1 if nowhere.
func tagEnd(text []byte) int {
	quote := byte(0)
	for i, c := range text {
		switch {
		case quote == 0 && c == '>':
			return i
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote:
			quote = 0
		}
	}
	return -1
}

// behindElement returns what follows the element whose content a text begins
// with. It looks for the end by name. False is for where the name occurs inside
// too, in an element or in CDATA: one has to go tag by tag.
func behindElement(inside, name []byte) (rest []byte, found bool) {
	for from := 0; ; {
		at := bytes.Index(inside[from:], name)
		if at < 0 {
			return nil, false
		}
		before, after := inside[:from+at], inside[from+at+len(name):]
		from = len(inside) - len(after)
		switch {
		case bytes.HasSuffix(before, []byte("</")) && bytes.HasPrefix(after, []byte(">")):
			return after[1:], !inCDATA(before)
		case bytes.HasSuffix(before, []byte("<")) && (len(after) == 0 || !partOfName(after[0])):
			return nil, false
		}
	}
}

// inCDATA reports whether a text ends inside CDATA: the last that opens is not closed.
func inCDATA(text []byte) bool {
	for end := len(text); ; {
		end = bytes.LastIndexByte(text[:end], openCDATA[len(openCDATA)-1])
		if end < 0 {
			return false
		}
		if opened := text[:end+1]; bytes.HasSuffix(opened, []byte(openCDATA)) {
			return !bytes.Contains(text[end:], []byte(closeCDATA))
		}
	}
}
