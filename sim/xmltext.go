package sim

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
)

// xmlWriter writes XML in one of two forms: as it is, or as it stands inside a
// string of an XML-RPC answer, which is XML itself. A pool of VMs is megabytes;
// writing it in the second form at once spares a pass over all of it. What is
// written past the functions of this file stands as it is in either form.
type xmlWriter struct {
	bytes.Buffer
	form *xmlForm
}

// xmlForm is how the parts of an object's XML are written.
type xmlForm struct {
	less, lessSlash, greater string
	// opensCDATA and shutsCDATA stand between a name and a text in CDATA.
	opensCDATA, shutsCDATA string
	// element escapes text between tags, and ready what is XML already.
	element, ready *escapes
}

var (
	plainForm = &xmlForm{
		less: "<", lessSlash: "</", greater: ">", opensCDATA: "><![CDATA[", shutsCDATA: "]]></",
		element: &objectEscapes,
	}
	wireForm = &xmlForm{
		less: "&lt;", lessSlash: "&lt;/", greater: "&gt;", opensCDATA: "&gt;&lt;![CDATA[", shutsCDATA: "]]&gt;&lt;/",
		element: objectEscapes.within(wireEscapes), ready: &wireEscapes,
	}
)

// escapes are what stands for a byte, "" where it may stay.
type escapes [256]string

var (
	// objectEscapes are for what stands between tags in an object's XML.
	objectEscapes = escapes{'&': "&amp;", '<': "&lt;", '>': "&gt;"}
	// wireEscapes escape as oned's XML-RPC library does: quotes stay.
	wireEscapes = escapes{'&': "&amp;", '<': "&lt;", '>': "&gt;", '\r': "&#x0d;"}
)

// within are the escapes of text whose XML is escaped again by the outer ones.
func (e *escapes) within(outer escapes) *escapes {
	both := outer
	for char, escape := range e {
		if escape != "" {
			b := &xmlWriter{}
			escaped(b, &outer, escape)
			both[char] = b.String()
		}
	}
	return &both
}

// maxKeptXML bounds the memory that a writer keeps for the next one.
const maxKeptXML = 1 << 20

// xmlWriters are kept for their memory.
var xmlWriters = sync.Pool{New: func() any { return new(xmlWriter) }}

// newXML is an empty writer; whoever is done with what was written releases it.
func newXML(form *xmlForm) *xmlWriter {
	b := xmlWriters.Get().(*xmlWriter)
	b.Reset()
	b.form = form
	return b
}

func (b *xmlWriter) release() {
	if b.Cap() <= maxKeptXML {
		xmlWriters.Put(b)
	}
}

// xmlText is what the function writes, as it is.
func xmlText(write func(b *xmlWriter)) string {
	b := newXML(plainForm)
	defer b.release()
	write(b)
	return b.String()
}

// element writes <name>text</name>.
func element(b *xmlWriter, name, text string) {
	open(b, name)
	escaped(b, b.form.element, text)
	shut(b, name)
}

// number writes <name>n</name>.
func number(b *xmlWriter, name string, n int) {
	open(b, name)
	b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(n), 10))
	shut(b, name)
}

// moment writes <name>unix seconds</name>.
func moment(b *xmlWriter, name string, seconds int64) { number(b, name, int(seconds)) }

// cdata writes <name><![CDATA[text]]></name>. A "]]>" in the text is split
// over two sections: one document must not make a whole pool unreadable.
func cdata(b *xmlWriter, name, text string) {
	if strings.Contains(text, "]]>") {
		text = strings.ReplaceAll(text, "]]>", "]]]]><![CDATA[>")
	}
	b.WriteString(b.form.less)
	b.WriteString(name)
	b.WriteString(b.form.opensCDATA)
	markup(b, text)
	b.WriteString(b.form.shutsCDATA)
	b.WriteString(name)
	b.WriteString(b.form.greater)
}

// optional writes <name/> where oned has nothing to say, else the number.
func optional(b *xmlWriter, name string, n int) {
	if n < 0 {
		markup(b, "<"+name+"/>")
		return
	}
	number(b, name, n)
}

// identifiers writes <name><ID>1</ID>...</name>.
func identifiers(b *xmlWriter, name string, ids []int) {
	open(b, name)
	for _, id := range ids {
		number(b, "ID", id)
	}
	shut(b, name)
}

func open(b *xmlWriter, name string) {
	b.WriteString(b.form.less)
	b.WriteString(name)
	b.WriteString(b.form.greater)
}

func shut(b *xmlWriter, name string) {
	b.WriteString(b.form.lessSlash)
	b.WriteString(name)
	b.WriteString(b.form.greater)
}

// markup writes XML that is ready.
func markup(b *xmlWriter, xml string) {
	if b.form.ready == nil {
		b.WriteString(xml)
		return
	}
	escaped(b, b.form.ready, xml)
}

// escaped writes text with its escapes.
func escaped(b *xmlWriter, escapes *escapes, text string) {
	from := 0
	for i := range len(text) {
		if escape := escapes[text[i]]; escape != "" {
			b.WriteString(text[from:i])
			b.WriteString(escape)
			from = i + 1
		}
	}
	b.WriteString(text[from:])
}
