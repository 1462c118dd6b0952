// Package xmlrpc is the wire format of oned's API: it reads calls, and writes answers and the XML of objects in them byte
// for byte as oned does. It knows no call and no object.
package xmlrpc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Value is one parameter of a call. oned knows whole numbers, booleans and strings only.
type Value struct {
	Kind   Kind
	Text   string
	Number int
}

// Kind is a value's type, by its letter in a call's signature.
type Kind byte

// The types of parameters. A boolean's Number is 1 or 0.
const (
	String Kind = 's'
	Int    Kind = 'i'
	Bool   Kind = 'b'
)

// Published returns the parameter as an API event shows it.
func (v Value) Published() string {
	if v.Kind == String {
		return v.Text
	}
	return strconv.Itoa(v.Number)
}

// DecodeCall reads one methodCall. Texts are copies: a VM's name must not keep its call in memory.
func DecodeCall(body []byte) (method string, parameters []Value, err error) {
	r := onexml.New(body)
	if string(r.Root()) != "methodCall" || !onexml.IsClean(body) {
		return "", nil, errors.New("read an XML-RPC call: there is no methodCall in UTF-8")
	}
	if bytes.ContainsFunc(body, func(r rune) bool { return r > 0xFFFF }) {
		return "", nil, errors.New("Call XML not a proper XML-RPC call.  UTF-8 string contains a character not in the Basic Multilingual Plane") //nolint:staticcheck // the words of oned's library
	}
	r.Each(func(name []byte) {
		switch string(name) {
		case "methodName":
			method = strings.TrimSpace(r.String())
		case "params":
			r.At(func() {
				v, failed := decodeValue(r)
				if failed != nil && err == nil {
					err = fmt.Errorf("read parameter %d of %s: %w", len(parameters)+1, method, failed)
				}
				parameters = append(parameters, v)
			}, "param", "value")
		}
	})
	switch {
	case r.Err() != nil:
		return "", nil, fmt.Errorf("read an XML-RPC call: %w", r.Err())
	case method == "":
		return "", nil, errors.New("read an XML-RPC call: there is no methodName")
	}
	return method, parameters, err
}

// decodeValue reads a value; one without a type is a string.
func decodeValue(r *onexml.Reader) (v Value, err error) {
	typed := false
	plain := r.Content(func(kind []byte) {
		text := r.String()
		if typed {
			return
		}
		typed = true
		trimmed := strings.TrimSpace(text)
		switch string(kind) {
		case "string":
			v = Value{Kind: String, Text: text}
		case "i4", "int", "i8":
			v.Kind = Int
			if v.Number, err = strconv.Atoi(trimmed); err != nil {
				err = fmt.Errorf("%q is not a whole number", text)
			}
		case "boolean":
			if trimmed != "0" && trimmed != "1" {
				err = fmt.Errorf("%q is not a boolean", text)
			}
			v = Value{Kind: Bool}
			if trimmed == "1" {
				v.Number = 1
			}
		default:
			err = fmt.Errorf("oned takes no %s", kind)
		}
	})
	if !typed {
		v = Value{Kind: String, Text: plain}
	}
	return v, err
}

const (
	responseHead = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n"
	arrayHead    = "<params>\r\n<param><value><array><data>\r\n"
	arrayTail    = "</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n"
)

// NewAnswer writes an answer: its outcome, and values, each a text or a number, of which an int64 is an i8.
func NewAnswer(ok bool, values ...any) *Writer {
	w := NewWriter()
	w.WriteString(responseHead + arrayHead)
	digit := "0"
	if ok {
		digit = "1"
	}
	w.value("boolean", digit)
	for _, value := range values {
		switch value := value.(type) {
		case string:
			w.value("string", value)
		case int:
			w.value("i4", strconv.Itoa(value))
		case int64:
			w.value("i8", strconv.FormatInt(value, 10))
		}
	}
	w.WriteString(arrayTail)
	return w
}

// wireEscapes escape as oned's XML-RPC library does: quotes stay.
var wireEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#x0d;")

func (w *Writer) value(kind, text string) {
	w.Grow(len(text) + len(text)/2) // a list is megabytes
	w.WriteString("<value><" + kind + ">")
	_, _ = wireEscapes.WriteString(w, text) // a buffer accepts everything
	w.WriteString("</" + kind + "></value>\r\n")
}

// The faults of oned's XML-RPC library.
const (
	FaultParse       = -503
	FaultNoMethod    = -506
	FaultTypeMissing = -501
)

// NewFault writes an XML-RPC fault: the call never reached oned's methods.
func NewFault(code int, message string) *Writer {
	w := NewWriter()
	w.WriteString(responseHead + "<fault>\r\n<value><struct>\r\n<member><name>faultCode</name>\r\n")
	w.value("i4", strconv.Itoa(code))
	w.WriteString("</member>\r\n<member><name>faultString</name>\r\n")
	w.value("string", message)
	w.WriteString("</member>\r\n</struct></value>\r\n</fault>\r\n</methodResponse>\r\n")
	return w
}

// Writer writes XML. Only the methods of this file escape text.
type Writer struct{ bytes.Buffer }

// maxKept bounds the memory that a writer keeps for the next one.
const maxKept = 1 << 20

// writers are reused for their memory.
var writers = sync.Pool{New: func() any { return new(Writer) }}

// NewWriter returns an empty writer; the caller releases it once the text is used.
func NewWriter() *Writer {
	w := writers.Get().(*Writer)
	w.Reset()
	return w
}

// Release returns the writer to the pool.
func (w *Writer) Release() {
	if w.Cap() <= maxKept {
		writers.Put(w)
	}
}

// Text returns an element with the content that the function writes.
func Text(name string, write func(w *Writer)) string {
	w := NewWriter()
	defer w.Release()
	w.Within(name, write)
	return w.String()
}

// CDATA is a text in a CDATA section. A "]]>" in it is split over two sections: one document must not make a whole pool
// unreadable.
type CDATA string

// Optional is a number that oned leaves out, as <name/>, if it is negative.
type Optional int

// objectEscapes are for the text between tags in an object's XML.
var objectEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// Fields writes <name>value</name> for each name with the value after it: a text, a number, a boolean as 1 or 0, a CDATA,
// an Optional, or ids as <ID>1</ID>...
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
			_, _ = objectEscapes.WriteString(w, value) // a buffer accepts everything
			w.Shut(name)
		case CDATA:
			w.Open(name)
			w.WriteString("<![CDATA[")
			w.WriteString(strings.ReplaceAll(string(value), "]]>", "]]]]><![CDATA[>"))
			w.WriteString("]]>")
			w.Shut(name)
		case []int:
			w.Open(name)
			for _, id := range value {
				w.number("ID", int64(id))
			}
			w.Shut(name)
		case Optional:
			if value < 0 {
				w.WriteString("<" + name + "/>")
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

// Within writes an element with the content that the function writes.
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
func (w *Writer) Open(name string) { w.tag("<", name) }

// Shut writes </name>.
func (w *Writer) Shut(name string) { w.tag("</", name) }

// tag concatenates nothing: tags are most of a simulated zone's output.
func (w *Writer) tag(begin, name string) {
	w.WriteString(begin)
	w.WriteString(name)
	w.WriteByte('>')
}
