// Package onexml reads the XML that oned writes: the answers of its calls, the
// objects in them, and hook events.
//
// A Reader reads a text once, for the wanted elements only: it finds the end
// of every other element by name, which skips nine tenths of a VM at once, and
// texts are not copied until they are kept. On well-formed XML it
// agrees with encoding/xml, several times as fast. If oned's text is not XML,
// it reads on as long as the meaning is unique: unknown references stay as they
// are, and characters that XML does not allow become U+FFFD. Everything else is
// ErrMalformed, which never quotes the text, because that may hold secrets.
package onexml

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
)

// ErrMalformed is returned if a part that is read is not well-formed.
var ErrMalformed = errors.New("it is not well-formed")

const maxDepth = 1000

// A Reader reads one document. The current element, which Root, Each or Content has begun
// last, is read by one call of Each, Content, Text, String, Int, Element or Inner;
// without one, it is skipped. After an error nothing more is found.
type Reader struct {
	rest []byte
	// element begins with the start tag of the latest element, of
	// that name; open until it is read.
	element, name []byte
	open, empty   bool
	depth         int
	err           error
}

// New returns a reader of a text, which must not change while it is read.
func New(text []byte) *Reader { return &Reader{rest: text} }

// Err returns ErrMalformed if the reader has found malformed XML.
func (r *Reader) Err() error { return r.err }

func (r *Reader) fail() {
	r.err, r.open, r.rest = ErrMalformed, false, nil
}

// Root begins the document's element and returns its name.
func (r *Reader) Root() []byte {
	if !r.next(nil, nil) {
		r.fail()
	}
	return r.name
}

// Each calls do for each element inside the current one.
func (r *Reader) Each(do func(name []byte)) { r.content(nil, do) }

// At calls do for each element at a path below the current one.
func (r *Reader) At(do func(), path ...string) {
	if len(path) == 0 {
		do()
		return
	}
	r.Each(func(name []byte) {
		if string(name) == path[0] {
			r.At(do, path[1:]...)
		}
	})
}

// Fields are the targets for elements, by name: an *int, a *string, or a func() that reads the element.
type Fields map[string]any

// Fields reads those elements inside the current one that are in a map.
func (r *Reader) Fields(into Fields) {
	r.Each(func(name []byte) {
		switch field := into[string(name)].(type) {
		case *int:
			*field = r.Int()
		case *string:
			*field = r.String()
		case func():
			field()
		}
	})
}

// Content is Each, and returns the text between the elements.
func (r *Reader) Content(do func(name []byte)) string {
	text := []byte{}
	r.content(&text, do)
	return string(Clean(text))
}

// content passes the elements inside the current one to do, and
// appends its text, not cleaned, if any is wanted.
func (r *Reader) content(text *[]byte, do func(name []byte)) {
	name, some := r.name, r.open && !r.empty
	r.open = false
	if !some {
		return
	}
	if r.depth++; r.depth > maxDepth {
		r.fail()
	}
	for r.next(name, text) {
		if do(r.name); r.open {
			r.Skip()
		}
	}
	r.depth--
}

// next begins the next element inside the parent. It returns false after the
// parent's end tag.
func (r *Reader) next(parent []byte, text *[]byte) bool {
	for r.err == nil {
		at := bytes.IndexByte(r.rest, '<')
		if at < 0 || at+1 == len(r.rest) {
			break
		}
		chars := r.rest[:at]
		r.rest = r.rest[at:]
		if len(chars) >= len(closeCDATA) && bytes.Contains(chars, []byte(closeCDATA)) {
			break
		}
		if text != nil {
			*text = unescape(*text, chars)
		}
		switch r.rest[1] {
		case '/':
			rest, found := cutEnd(r.rest, parent)
			if r.rest = rest; !found || len(parent) == 0 {
				r.fail()
			}
			return false
		case '!', '?':
			r.markup(text)
		default:
			r.start()
			return r.err == nil
		}
	}
	r.fail()
	return false
}

func (r *Reader) start() {
	r.element = r.rest
	end := bytes.IndexByte(r.rest, '>')
	size := nameSize(r.rest[1:])
	if end < 0 || size == 0 {
		r.fail()
		return
	}
	r.name = r.rest[1 : 1+size]
	if 1+size != end { // attributes, or the end of an element without content
		if c := r.rest[1+size]; c != '/' && !isSpace(c) {
			r.fail()
			return
		}
		if end = tagEnd(r.rest); end < 0 {
			r.fail()
			return
		}
	}
	r.open, r.empty = true, r.rest[end-1] == '/'
	r.rest = r.rest[end+1:]
}

// cutEnd returns what follows an end tag at the start of a text.
func cutEnd(text, name []byte) (rest []byte, found bool) {
	size := len("</") + len(name)
	if len(text) <= size || text[1] != '/' || !bytes.Equal(text[2:size], name) {
		return nil, false
	}
	for isSpace(text[size]) && size+1 < len(text) {
		size++
	}
	return text[size+1:], text[size] == '>'
}

// markup reads CDATA, a comment, a declaration or an instruction.
func (r *Reader) markup(text *[]byte) {
	for _, kind := range [...]struct{ open, shut string }{
		{openCDATA, closeCDATA}, {"<!--", "-->"}, {"<?", "?>"}, {"<!", ">"},
	} {
		inside, is := bytes.CutPrefix(r.rest, []byte(kind.open))
		if !is {
			continue
		}
		raw, rest, ended := bytes.Cut(inside, []byte(kind.shut))
		if !ended {
			r.fail()
			return
		}
		if r.rest = rest; text != nil && kind.open == openCDATA {
			*text = appendLines(*text, raw)
		}
		return
	}
}

// Text returns the text of the current element, without that of
// elements inside. It may share the memory of the reader's text.
func (r *Reader) Text() []byte {
	raw, is := r.leaf()
	if !is {
		text := []byte{}
		r.content(&text, func([]byte) {})
		return Clean(text)
	}
	inside, rest, whole := r.cutCDATA(raw)
	if plain := whole && len(rest) == 0 || !whole && bytes.IndexByte(raw, '&') < 0; plain && bytes.IndexByte(inside, '\r') < 0 {
		return Clean(inside)
	}
	return Clean(r.appendRaw(nil, raw))
}

// AppendText appends the text as it is written, not cleaned: XML in XML.
func (r *Reader) AppendText(to []byte) []byte {
	if raw, is := r.leaf(); is {
		return r.appendRaw(slices.Grow(to, len(raw)), raw)
	}
	r.content(&to, func([]byte) {})
	return to
}

// String returns a copy of Text.
func (r *Reader) String() string { return string(r.Text()) }

// Int returns the text as a whole number; 0 for an empty one.
func (r *Reader) Int() int {
	text := bytes.TrimSpace(r.Text())
	if len(text) == 0 {
		return 0
	}
	value, err := strconv.Atoi(string(text))
	if err != nil {
		r.fail()
	}
	return value
}

// leaf reads the current element, if it has no elements inside, and
// returns its text as it is written.
func (r *Reader) leaf() (raw []byte, is bool) {
	if !r.open || r.empty {
		r.open = false
		return nil, true
	}
	from := 0
	if bytes.HasPrefix(r.rest, []byte(openCDATA)) {
		from = max(0, bytes.Index(r.rest, []byte(closeCDATA)))
	}
	at := bytes.IndexByte(r.rest[from:], '<')
	if at < 0 {
		return nil, false
	}
	raw = r.rest[:from+at]
	rest, is := cutEnd(r.rest[from+at:], r.name)
	if is {
		r.rest, r.open = rest, false
	}
	return raw, is
}

// cutCDATA returns the content of the CDATA at the start of a text, and the
// text after it.
func (r *Reader) cutCDATA(raw []byte) (inside, rest []byte, is bool) {
	inside, is = bytes.CutPrefix(raw, []byte(openCDATA))
	if is {
		inside, rest, _ = bytes.Cut(inside, []byte(closeCDATA))
		raw = rest
	}
	if len(raw) >= len(closeCDATA) && bytes.Contains(raw, []byte(closeCDATA)) {
		r.fail()
	}
	return inside, rest, is
}

func (r *Reader) appendRaw(to, raw []byte) []byte {
	inside, rest, is := r.cutCDATA(raw)
	if is {
		return unescape(appendLines(to, inside), rest)
	}
	return unescape(to, raw)
}

// Skip skips the current element.
func (r *Reader) Skip() {
	if _, is := r.leaf(); is {
		return
	}
	if rest, found := behindElement(r.rest, r.name); found {
		r.rest, r.open = rest, false
		return
	}
	r.content(nil, func([]byte) {})
}

// Element returns the current element as it is written.
func (r *Reader) Element() []byte {
	element := r.element
	r.Skip()
	return element[:len(element)-len(r.rest)]
}

// Inner returns the text between the tags of the current element, as
// it is written.
func (r *Reader) Inner() []byte {
	inner, empty := r.rest, !r.open || r.empty
	r.Skip()
	if empty || r.err != nil {
		return nil
	}
	inner = inner[:len(inner)-len(r.rest)]
	return inner[:bytes.LastIndex(inner, []byte("</"))]
}
