package onexml

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/segmentio/asm/ascii"
)

// Clean replaces what XML does not allow by U+FFFD: bytes that are not UTF-8 and
// control characters. Users can put them into templates, and oned passes them
// on. A text without any is returned as it is.
func Clean(text []byte) []byte {
	if IsClean(text) {
		return text
	}
	cleaned := make([]byte, 0, len(text)+16)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if !allowed(r) {
			r = utf8.RuneError
		}
		cleaned = utf8.AppendRune(cleaned, r)
		i += size
	}
	return cleaned
}

// IsClean reports whether XML allows all that is in a text.
func IsClean(text []byte) bool {
	text = behindASCII(text)
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

// behindASCII returns a text without the printable ASCII that it begins with, as
// far as that goes in pieces.
func behindASCII(text []byte) []byte {
	const piece = 64
	for len(text) >= piece && ascii.ValidPrint(text[:piece]) {
		text = text[piece:]
	}
	return text
}

// allowed is XML 1.0's production Char.
func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' ||
		r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// appendLines appends text whose line ends become "\n", as XML has it.
func appendLines(to, text []byte) []byte {
	for {
		at := bytes.IndexByte(text, '\r')
		if at < 0 {
			return append(to, text...)
		}
		to = append(append(to, text[:at]...), '\n')
		if text = text[at+1:]; len(text) > 0 && text[0] == '\n' {
			text = text[1:]
		}
	}
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

// maxReference bounds the length of what stands between "&" and ";".
const maxReference = 10

// reference returns the character that a reference stands for.
func reference(name []byte) (r rune, known bool) {
	switch string(name) {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
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
