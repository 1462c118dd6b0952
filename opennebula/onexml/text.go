package onexml

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/segmentio/asm/ascii"
)

// Clean replaces bytes that XML does not allow by U+FFFD: those that are not UTF-8, and
// control characters. Users can put them into templates, and oned passes them
// on. A text without any is returned unchanged.
func Clean(text []byte) []byte {
	if IsClean(text) {
		return text
	}
	return bytes.Map(func(r rune) rune { // which gets utf8.RuneError for a byte that is not UTF-8
		if allowed(r) {
			return r
		}
		return utf8.RuneError
	}, text)
}

// IsClean reports whether XML allows all characters of a text.
func IsClean(text []byte) bool {
	const piece = 64 // of printable ASCII, which nearly all of a text is
	for len(text) >= piece && ascii.ValidPrint(text[:piece]) {
		text = text[piece:]
	}
	for i := 0; i < len(text); {
		if b := text[i]; b < utf8.RuneSelf {
			if b < ' ' && !isSpace(b) {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 || !allowed(r) {
			return false
		}
		i += size
	}
	return true
}

// allowed reports whether a character matches the production Char of XML 1.0.
func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' ||
		r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// appendLines appends text whose line ends become "\n", as XML has it.
func appendLines(to, text []byte) []byte {
	if bytes.IndexByte(text, '\r') >= 0 {
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	return append(to, text...)
}

// unescape appends text with its references resolved.
func unescape(to, text []byte) []byte {
	lines := bytes.IndexByte(text, '\r') >= 0
	for {
		at := bytes.IndexByte(text, '&')
		plain := text
		if at >= 0 {
			plain = text[:at]
		}
		if lines {
			to = appendLines(to, plain)
		} else {
			to = append(to, plain...)
		}
		if at < 0 {
			return to
		}
		text = text[at+1:]
		if len(text) > 2 && text[1] == 't' && text[2] == ';' { // nearly all there are
			switch text[0] {
			case 'l':
				to, text = append(to, '<'), text[3:]
				continue
			case 'g':
				to, text = append(to, '>'), text[3:]
				continue
			}
		}
		size := bytes.IndexByte(text[:min(len(text), maxReference)], ';')
		if r, known := reference(text[:max(size, 0)]); known {
			to, text = utf8.AppendRune(to, r), text[size+1:]
			continue
		}
		to = append(to, '&')
	}
}

// maxReference bounds the length of the text between "&" and ";".
const maxReference = 10

var references = map[string]rune{"lt": '<', "gt": '>', "amp": '&', "quot": '"', "apos": '\''}

func reference(name []byte) (r rune, known bool) {
	if r, known = references[string(name)]; known {
		return r, true
	}
	digits, numeric := bytes.CutPrefix(name, []byte("#"))
	if !numeric {
		return 0, false
	}
	base := 10
	if hex, is := bytes.CutPrefix(digits, []byte("x")); is {
		digits, base = hex, 16
	}
	number, err := strconv.ParseUint(string(digits), base, 31)
	if r = rune(number); !allowed(r) {
		r = utf8.RuneError
	}
	return r, err == nil
}

const openCDATA, closeCDATA = "<![CDATA[", "]]>"

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

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

// tagEnd returns the end of the tag at the start of a text, past ">" in the
// values of attributes; -1 if there is none.
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

// behindElement returns the text after the element whose content a text begins
// with. It searches for the end tag by name. False means that the name occurs inside
// too, in an element or in CDATA: then it has to be read tag by tag.
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

// inCDATA reports whether a text ends inside CDATA: the last opened is not closed.
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
