package xmlrpc

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
)

// Writer writes XML in one of two forms: as it is, or as it stands inside a
// string of an XML-RPC answer, which is XML itself. A pool of VMs is megabytes;
// writing it in the second form at once spares a pass over all of it. What is
// written past the methods of this file stands as it is in either form.
type Writer struct {
	bytes.Buffer
	form *form
}

// form is how the parts of an object's XML are written.
type form struct {
	less, lessSlash, greater string
	// opensCDATA and shutsCDATA stand between a name and a text in CDATA.
	opensCDATA, shutsCDATA string
	// element escapes text between tags, and ready what is XML already.
	element, ready *escapes
}

var (
	plainForm = &form{
		less: "<", lessSlash: "</", greater: ">", opensCDATA: "><![CDATA[", shutsCDATA: "]]></",
		element: &objectEscapes,
	}
	wireForm = &form{
		less: "&lt;", lessSlash: "&lt;/", greater: "&gt;", opensCDATA: "&gt;&lt;![CDATA[", shutsCDATA: "]]&gt;&lt;/",
		element: twice(objectEscapes, wireEscapes), ready: &wireEscapes,
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

// twice are the inner escapes of text whose XML is escaped again by the outer ones.
func twice(inner, outer escapes) *escapes {
	both := outer
	for char, escape := range inner {
		if escape != "" {
			w := &Writer{}
			w.escaped(&outer, escape)
			both[char] = w.String()
		}
	}
	return &both
}

// MaxKept bounds the memory that a writer keeps for the next one.
const MaxKept = 1 << 20

// writers are kept for their memory.
var writers = sync.Pool{New: func() any { return new(Writer) }}

// NewWriter returns an empty writer of plain XML; whoever is done with what was
// written releases it.
func NewWriter() *Writer { return newWriter(plainForm) }

func newWriter(form *form) *Writer {
	w := writers.Get().(*Writer)
	w.Reset()
	w.form = form
	return w
}

// Release gives the writer back.
func (w *Writer) Release() {
	if w.Cap() <= MaxKept {
		writers.Put(w)
	}
}

// Text returns an element, in which stands what the function writes, as plain XML.
func Text(name string, write func(w *Writer)) string {
	w := NewWriter()
	defer w.Release()
	w.Within(name, write)
	return w.String()
}

// CDATA is a text that stands in a CDATA section. A "]]>" in it is split over
// two sections: one document must not make a whole pool unreadable.
type CDATA string

// Optional is a number that oned leaves out, as <name/>, where it is negative.
type Optional int

// Fields writes <name>value</name> for each name with the value behind it: a
// text, a number, a boolean as 1 or 0, a CDATA, an Optional, or ids as <ID>1</ID>...
func (w *Writer) Fields(namesAndValues ...any) {
	for i := 0; i < len(namesAndValues); i += 2 {
		name := namesAndValues[i].(string)
		switch value := namesAndValues[i+1].(type) {
		case int:
			w.number(name, int64(value))
		case int64:
			w.number(name, value)
		case bool:
			if value {
				w.number(name, 1)
			} else {
				w.number(name, 0)
			}
		case string:
			w.Open(name)
			w.escaped(w.form.element, value)
			w.Shut(name)
		case CDATA:
			w.cdata(name, string(value))
		case []int:
			w.Open(name)
			for _, id := range value {
				w.number("ID", int64(id))
			}
			w.Shut(name)
		case Optional:
			if value < 0 {
				w.Markup("<" + name + "/>")
			} else {
				w.number(name, int64(value))
			}
		default:
			panic("a field of an unknown type")
		}
	}
}

func (w *Writer) number(name string, n int64) {
	w.Open(name)
	w.Write(strconv.AppendInt(w.AvailableBuffer(), n, 10))
	w.Shut(name)
}

func (w *Writer) cdata(name, text string) {
	if strings.Contains(text, "]]>") {
		text = strings.ReplaceAll(text, "]]>", "]]]]><![CDATA[>")
	}
	w.WriteString(w.form.less)
	w.WriteString(name)
	w.WriteString(w.form.opensCDATA)
	w.Markup(text)
	w.WriteString(w.form.shutsCDATA)
	w.WriteString(name)
	w.WriteString(w.form.greater)
}

// Within writes an element, in which stands what the function writes.
func (w *Writer) Within(name string, write func(w *Writer)) {
	w.Open(name)
	write(w)
	w.Shut(name)
}

// Group writes an element of fields.
func (w *Writer) Group(name string, namesAndValues ...any) {
	w.Open(name)
	w.Fields(namesAndValues...)
	w.Shut(name)
}

// Open writes <name>.
func (w *Writer) Open(name string) {
	w.WriteString(w.form.less)
	w.WriteString(name)
	w.WriteString(w.form.greater)
}

// Shut writes </name>.
func (w *Writer) Shut(name string) {
	w.WriteString(w.form.lessSlash)
	w.WriteString(name)
	w.WriteString(w.form.greater)
}

// Markup writes XML that is ready.
func (w *Writer) Markup(xml string) {
	if w.form.ready == nil {
		w.WriteString(xml)
		return
	}
	w.escaped(w.form.ready, xml)
}

func (w *Writer) escaped(escapes *escapes, text string) {
	from := 0
	for i := range len(text) {
		if escape := escapes[text[i]]; escape != "" {
			w.WriteString(text[from:i])
			w.WriteString(escape)
			from = i + 1
		}
	}
	w.WriteString(text[from:])
}
