package opennebula

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"
)

// answerText is the text in an accepted answer of the form that oned gives,
// which is most of what there is to read: it is read several times as fast as by
// a decoder. Answers of any other form are left to that: ok is false. The
// answer has gone through cleanXML; the text is appended to what is given.
func answerText(to, answer []byte) (text []byte, ok bool) {
	inside, ok := acceptedValue(answer, "string")
	if !ok {
		return nil, false
	}
	return unescape(slices.Grow(to, len(inside)), inside)
}

// answerID is answerText for the id of an object, which every call that changes
// something is answered with.
func answerID(answer []byte) (id int64, ok bool) {
	inside, ok := acceptedValue(answer, "i4")
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseInt(string(inside), 10, 64)
	return id, err == nil
}

// acceptedValue is what stands in the value of an accepted answer, if it is of that
// type.
func acceptedValue(answer []byte, kind string) (inside []byte, ok bool) {
	const (
		start    = "<array><data>"
		accepted = "<value><boolean>1</boolean></value>"
		end      = "</methodResponse>"
		maxHead  = 256
	)
	head := bytes.Index(answer[:min(len(answer), maxHead)], []byte(start))
	if head < 0 || bytes.Contains(answer[:head], []byte("<fault>")) || !bytes.HasSuffix(bytes.TrimSpace(answer), []byte(end)) {
		return nil, false
	}
	rest, ok := cutTag(answer[head+len(start):], accepted)
	if !ok {
		return nil, false
	}
	if rest, ok = cutTag(rest, "<value><"+kind+">"); !ok {
		return nil, false
	}
	size := bytes.IndexByte(rest, '<')
	if size < 0 || !bytes.HasPrefix(rest[size:], []byte("</"+kind+"></value>")) {
		return nil, false
	}
	return rest[:size], true
}

// cutTag takes a text with blanks before it away.
func cutTag(text []byte, tag string) ([]byte, bool) {
	return bytes.CutPrefix(bytes.TrimLeft(text, " \r\n\t"), []byte(tag))
}

// entities are XML's own.
var entities = map[string]byte{"lt": '<', "gt": '>', "amp": '&', "quot": '"', "apos": '\''}

// maxEntity bounds the length of what stands between "&" and ";".
const maxEntity = 10

// unescape appends XML text with its references resolved. It refuses what a
// decoder might read in another way: carriage returns, unknown references.
func unescape(to, text []byte) ([]byte, bool) {
	if bytes.IndexByte(text, '\r') >= 0 {
		return nil, false
	}
	for {
		at := bytes.IndexByte(text, '&')
		if at < 0 {
			return append(to, text...), true
		}
		to = append(to, text[:at]...)
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
		size := bytes.IndexByte(text[:min(len(text), maxEntity)], ';')
		if size < 1 {
			return nil, false
		}
		plain, known := entities[string(text[:size])]
		switch {
		case known:
			to = append(to, plain)
		case text[0] == '#':
			r, valid := reference(string(text[1:size]))
			if !valid {
				return nil, false
			}
			to = utf8.AppendRune(to, r)
		default:
			return nil, false
		}
		text = text[size+1:]
	}
}

// reference is the character that a numeric reference stands for.
func reference(digits string) (rune, bool) {
	base := 10
	if digits != "" && digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	number, err := strconv.ParseUint(digits, base, 31)
	return rune(number), err == nil && allowed(rune(number))
}
