package sim

import (
	"encoding/xml"
	"strings"
	"unicode/utf8"
)

// plainReader reads XML of the form that clients of oned write, several times
// as fast as encoding/xml: elements without attributes, with elements, a text
// or one CDATA section in them, all in ASCII. Whatever else it meets makes it
// fail, and the text is then left to encoding/xml: it never reads one
// differently.
type plainReader struct {
	rest   string
	failed bool
}

func newPlainReader(text string) *plainReader {
	p := &plainReader{rest: text}
	for _, c := range []byte(text) {
		if c < ' ' && c != '\n' && c != '\t' || c >= utf8.RuneSelf {
			p.failed = true
		}
	}
	return p
}

// take takes a tag where it comes next, behind blanks.
func (p *plainReader) take(tag string) bool {
	rest, found := strings.CutPrefix(strings.TrimLeft(p.rest, " \n\t"), tag)
	if found = found && !p.failed; found {
		p.rest = rest
	}
	return found
}

func (p *plainReader) need(tag string) {
	if !p.take(tag) {
		p.failed = true
	}
}

// open takes a start tag and returns its name, "" where none comes next.
func (p *plainReader) open() string {
	after, found := strings.CutPrefix(strings.TrimLeft(p.rest, " \n\t"), "<")
	name, rest, ended := strings.Cut(after, ">")
	if p.failed || !found || !ended || !plainName(name) {
		return ""
	}
	p.rest = rest
	return name
}

func (p *plainReader) shut(name string) { p.need("</" + name + ">") }

// plainName reports whether a name is one without more in its tag.
func plainName(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// text takes what stands up to the next tag. It is a copy: a VM's name must not
// keep the call in memory that it came in.
func (p *plainReader) text() string {
	const opens, closes = "<![CDATA[", "]]>"
	if inside, found := strings.CutPrefix(p.rest, opens); found {
		text, rest, ended := strings.Cut(inside, closes)
		p.rest, p.failed = rest, p.failed || !ended
		return strings.Clone(text)
	}
	size := max(strings.IndexByte(p.rest, '<'), 0)
	text := p.rest[:size]
	p.rest, p.failed = p.rest[size:], p.failed || strings.Contains(text, closes)
	return p.unescaped(text)
}

// plainReferences are the references that clients write.
var plainReferences = map[string]byte{
	"lt": '<', "gt": '>', "amp": '&', "quot": '"', "apos": '\'', "#34": '"', "#39": '\'', "#x9": '\t', "#xA": '\n', "#xD": '\r',
}

func (p *plainReader) unescaped(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for {
		before, after, found := strings.Cut(text, "&")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, _ := strings.Cut(after, ";")
		char, known := plainReferences[name]
		if !known {
			p.failed = true
			return ""
		}
		b.WriteByte(char)
		text = rest
	}
}

// plainRequest reads a methodCall; false leaves it to encoding/xml.
func plainRequest(body []byte) (wireRequest, bool) {
	p := newPlainReader(string(body))
	_ = p.take(`<?xml version="1.0" encoding="UTF-8"?>`) || p.take(`<?xml version="1.0" ?>`)
	var request wireRequest
	p.need("<methodCall>")
	p.need("<methodName>")
	request.Method = p.text()
	p.shut("methodName")
	if p.take("<params>") {
		for p.take("<param>") {
			p.need("<value>")
			kind := p.open()
			value := wireTyped{XMLName: xml.Name{Local: kind}, Text: p.text()}
			p.shut(kind)
			p.need("</value>")
			p.need("</param>")
			request.Params = append(request.Params, wireParam{Value: wireValue{Typed: []wireTyped{value}}})
		}
		p.need("</params>")
	}
	p.need("</methodCall>")
	return request, !p.failed
}

// plainTemplate reads a template of single attributes; false leaves it to
// encoding/xml.
func plainTemplate(text string) (template, bool) {
	p := newPlainReader(text)
	root := p.open()
	var parsed template
	for name := p.open(); name != ""; name = p.open() {
		parsed = append(parsed, single(strings.ToUpper(name), p.text()))
		p.shut(name)
	}
	p.shut(root)
	return parsed, !p.failed && root != "" && len(parsed) <= maxAttributes
}
