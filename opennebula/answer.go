package opennebula

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/kolo/xmlrpc"
	"github.com/segmentio/asm/ascii"
)

// answer is what oned answered, in memory that another call gets once it is
// released: what is kept of it is copied before. Each has one owner.
type answer struct {
	raw  bytes.Buffer
	text []byte
	// value is the second element of what oned answered: a text ([]byte, which
	// lies in text, or string), an int64, a bool or nil.
	value any
}

// answers are those that were released. They are taken for what oned has begun to
// answer, so that there are no more than there are connections and readers.
var answers = sync.Pool{New: func() any { return new(answer) }}

func newAnswer() *answer { return answers.Get().(*answer) }

// released is told of memory that is let go of; tests spoil it.
var released = func([]byte) {}

// release lets go of the memory.
func (a *answer) release() {
	a.clear()
	answers.Put(a)
}

// clear keeps the memory alone, and not that of large lists.
func (a *answer) clear() {
	a.raw.Reset()
	released(a.raw.AvailableBuffer())
	released(a.text)
	if a.raw.Cap() > maxKept {
		a.raw = bytes.Buffer{}
	}
	if cap(a.text) > maxKept {
		a.text = nil
	}
	a.value = nil
}

// decoded is the answer taken apart; one that is of no use is released.
func (a *answer) decoded(method string) (*answer, error) {
	if err := a.decode(method); err != nil {
		a.release()
		return nil, err
	}
	return a, nil
}

// decode takes oned's answer apart: [true, value, errno, ...] or
// [false, message, errno, ...].
func (a *answer) decode(method string) error {
	raw := cleanXML(a.raw.Bytes())
	if text, ok := answerText(a.text[:0], raw); ok {
		a.text, a.value = text, text
		return nil
	}
	if id, ok := answerID(raw); ok {
		a.value = id
		return nil
	}
	if err := fault(raw); err != nil {
		return &TransportError{Method: method, Sent: true, Err: err}
	}
	var elements []any
	if err := xmlrpc.Response(raw).Unmarshal(&elements); err != nil {
		return &TransportError{Method: method, Sent: true, Err: fmt.Errorf("read the answer: %w", err)}
	}
	if len(elements) < 2 {
		return unexpected(method, elements)
	}
	if accepted, isBool := elements[0].(bool); !isBool {
		return unexpected(method, elements[0])
	} else if !accepted {
		return refusal(method, elements)
	}
	a.value = elements[1]
	return nil
}

// textValue is the answer's value, a text, until the answer is released.
func (a *answer) textValue(method string) ([]byte, error) {
	switch v := a.value.(type) {
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	case nil:
		return nil, nil
	}
	return nil, unexpected(method, a.value)
}

func refusal(method string, elements []any) error {
	message, _ := elements[1].(string)
	code := int64(CodeInternal)
	if len(elements) > 2 {
		if number, isNumber := elements[2].(int64); isNumber {
			code = number
		}
	}
	return &Error{Method: method, Code: Code(code), Message: message}
}

// fault is an XML-RPC fault: the server knows no such method, or could not
// read the call. The decoder's own check for one is too slow for big answers.
func fault(answer []byte) error {
	if !bytes.Contains(answer, []byte("<fault>")) {
		return nil
	}
	return xmlrpc.Response(answer).Err()
}

func unexpected(method string, value any) error {
	return &TransportError{Method: method, Sent: true, Err: fmt.Errorf("the answer has an unexpected shape (%T)", value)}
}

// unmarshal reads XML made by oned into a small struct. It is lenient: oned
// does not escape everything that it should.
func unmarshal(text []byte, target any) error {
	return decoder(text).Decode(target)
}

func decoder(text []byte) *xml.Decoder {
	decoder := xml.NewDecoder(bytes.NewReader(cleanXML(text)))
	decoder.Strict = false
	decoder.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	return decoder
}

// object reads an object's XML that came as the value of a call.
func object(method string, text []byte, target any) error {
	err := unmarshal(text, target)
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &TransportError{Method: method, Sent: true, Err: fmt.Errorf("read the object's XML: %w", err)}
}

// cleanXML replaces what XML does not allow, and Go's decoder refuses, by
// U+FFFD: bytes that are not UTF-8, control characters, and references to
// them. Users can put them into templates, and oned passes them on.
func cleanXML(text []byte) []byte {
	if clean(text) {
		return text
	}
	cleaned := make([]byte, 0, len(text)+16)
	for i := 0; i < len(text); {
		if size := badReference(text[i:]); size > 0 {
			cleaned = utf8.AppendRune(cleaned, utf8.RuneError)
			i += size
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if !allowed(r) {
			r = utf8.RuneError
		}
		cleaned = utf8.AppendRune(cleaned, r)
		i += size
	}
	return cleaned
}

func clean(text []byte) bool {
	if !hasReference(text) {
		text = behindPlain(text)
	}
	return allClean(text)
}

// hasReference reports whether there may be a numeric character reference. It looks for the
// rarer of the two characters with which that begins: XML in XML is full of "&".
func hasReference(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '#')
		if at < 0 {
			return false
		}
		if at > 0 && text[at-1] == '&' {
			return true
		}
		text = text[at+1:]
	}
}

func allClean(text []byte) bool {
	for i := 0; i < len(text); {
		if b := text[i]; b < utf8.RuneSelf {
			if b < ' ' && b != '\t' && b != '\n' && b != '\r' || b == '&' && badReference(text[i:]) > 0 {
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

// behindPlain is a text without what it begins with that is sure to be clean, when
// there are no references to characters in it: most of what oned sends.
func behindPlain(text []byte) []byte {
	const piece = 64
	for len(text) >= piece {
		if !ascii.ValidPrint(text[:piece]) && !tame(text[:piece]) {
			break
		}
		text = text[piece:]
	}
	return text
}

// tame reports whether a text is ASCII without control characters but the blank ones.
func tame(text []byte) bool {
	for _, c := range text {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// allowed is XML 1.0's production Char.
func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' ||
		r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// badReference is the length of a numeric character reference at the start of
// text that names a character that XML does not allow, or 0.
func badReference(text []byte) int {
	if len(text) < 4 || text[0] != '&' || text[1] != '#' {
		return 0
	}
	end := bytes.IndexByte(text[:min(len(text), 12)], ';')
	if end < 0 {
		return 0
	}
	digits, base := string(text[2:end]), 10
	if digits != "" && (digits[0] == 'x' || digits[0] == 'X') {
		digits, base = digits[1:], 16
	}
	number, err := strconv.ParseUint(digits, base, 32)
	if err != nil || allowed(rune(number)) {
		return 0
	}
	return end + 1
}
