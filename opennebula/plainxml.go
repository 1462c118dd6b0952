package opennebula

import (
	"bytes"
	"strconv"
)

// plainXML reads the XML that oned writes for its objects: elements without
// attributes, text and CDATA. It is made for large pools, where encoding/xml
// takes most of the time of a list. Whatever else it meets makes it fail, and
// the text is then left to encoding/xml: it never reads something differently.
type plainXML struct {
	rest []byte
	// empty reports whether the element just begun was <NAME/>.
	empty bool
	// failed reports whether this is not for plainXML.
	failed bool
	// room is for texts of which nothing is kept.
	room [128]byte
}

// plainElements hands each element of a pool over, which each has to read to its end;
// false if the text is not for plainXML.
func plainElements(text []byte, root string, each func(p *plainXML, name []byte)) bool {
	p := &plainXML{rest: text}
	if string(p.begin()) != root {
		return false
	}
	p.children([]byte(root), func(name []byte) { each(p, name) })
	return !p.failed
}

func (p *plainXML) fail() { p.failed = true }

// begin takes the start tag that comes next and returns its name; an empty name
// means that an end tag comes, or that the reading has failed.
func (p *plainXML) begin() []byte {
	p.rest = bytes.TrimLeft(p.rest, " \n\t")
	if p.failed || len(p.rest) < 3 || p.rest[0] != '<' {
		p.fail()
		return nil
	}
	if p.rest[1] == '/' {
		return nil
	}
	size := bytes.IndexByte(p.rest, '>')
	if size < 2 {
		p.fail()
		return nil
	}
	name := p.rest[1:size]
	p.rest = p.rest[size+1:]
	if p.empty = name[len(name)-1] == '/'; p.empty {
		name = name[:len(name)-1]
	}
	if len(name) == 0 || !plainName(name) {
		p.fail()
	}
	return name
}

// end takes the end tag of a name.
func (p *plainXML) end(name []byte) {
	rest, found := bytes.CutPrefix(p.rest, []byte("</"))
	if found {
		rest, found = bytes.CutPrefix(rest, name)
	}
	if found {
		rest, found = bytes.CutPrefix(rest, []byte(">"))
	}
	if p.rest = rest; !found {
		p.fail()
	}
}

// children has each element inside the one that has begun read by do, which
// must take all of it.
func (p *plainXML) children(name []byte, do func(child []byte)) {
	if p.empty {
		p.empty = false
		return
	}
	for !p.failed {
		child := p.begin()
		if len(child) == 0 {
			break
		}
		do(child)
	}
	if !p.failed {
		p.end(name)
	}
}

// maxPlainDepth bounds how deep elements are looked into.
const maxPlainDepth = 100

// skip passes over the element that has begun.
func (p *plainXML) skip(name []byte) { p.skipAt(name, 0) }

func (p *plainXML) skipAt(name []byte, depth int) {
	if p.empty {
		p.empty = false
		return
	}
	if depth > maxPlainDepth {
		p.fail()
	}
	for !p.failed {
		p.chars(nil)
		child := p.begin()
		if len(child) == 0 {
			break
		}
		p.skipAt(child, depth+1)
	}
	if !p.failed {
		p.end(name)
	}
}

// text is what the element that has begun contains, which must not be elements.
func (p *plainXML) text(name []byte) []byte { return p.textAt([]byte{}, name) }

// word is text of which there is little.
func (p *plainXML) word(name []byte) string { return string(p.textAt(p.room[:0], name)) }

// textAt appends the text to what is given, which is not nil.
func (p *plainXML) textAt(to, name []byte) []byte {
	if p.empty {
		p.empty = false
		return nil
	}
	text := p.chars(to)
	p.end(name)
	return text
}

// number is the element's text as a whole number; 0 for an empty one.
func (p *plainXML) number(name []byte) int {
	text := bytes.TrimSpace(p.textAt(p.room[:0], name))
	if len(text) == 0 {
		return 0
	}
	value, err := strconv.Atoi(string(text))
	if err != nil {
		p.fail()
	}
	return value
}

// chars takes text and CDATA up to the next tag, and appends it to what is
// given; to nil nothing is.
func (p *plainXML) chars(to []byte) []byte {
	const opens, closes = "<![CDATA[", "]]>"
	for !p.failed {
		if inside, found := bytes.CutPrefix(p.rest, []byte(opens)); found {
			raw, rest, ended := bytes.Cut(inside, []byte(closes))
			if !ended || bytes.IndexByte(raw, '\r') >= 0 {
				p.fail()
			}
			if p.rest = rest; to != nil {
				to = append(to, raw...)
			}
			continue
		}
		size := bytes.IndexByte(p.rest, '<')
		if size == 0 {
			return to
		}
		if size < 0 || bytes.Contains(p.rest[:size], []byte(closes)) {
			p.fail()
			return to
		}
		into := to
		if to == nil {
			into = p.room[:0]
		}
		plain, ok := unescape(into, p.rest[:size])
		if !ok {
			p.fail()
		}
		if p.rest = p.rest[size:]; to != nil {
			to = plain
		}
	}
	return to
}
