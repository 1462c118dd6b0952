package sim

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/opennebula"
)

// answer is what a call gives back: a value, or oned's refusal.
type answer struct {
	text    string
	number  int
	isText  bool
	refusal *refusal
}

// refusal is oned's failure: a code, a text that begins with the method in
// brackets, and the object it is about (-1 where oned names none).
type refusal struct {
	code    opennebula.Code
	message string
	object  int
}

func (r *refusal) Error() string { return r.message }

// refuse is a refusal about no particular object.
func refuse(code opennebula.Code, message string) *refusal {
	return &refusal{code: code, message: message, object: -1}
}

func textAnswer(text string) answer   { return answer{text: text, isText: true} }
func idAnswer(id int) answer          { return answer{number: id} }
func refusedAnswer(r *refusal) answer { return answer{refusal: r} }
func (a answer) ok() bool             { return a.refusal == nil }
func (a answer) code() opennebula.Code {
	if a.refusal == nil {
		return 0
	}
	return a.refusal.code
}

const (
	responseHead = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n"
	arrayHead    = "<params>\r\n<param><value><array><data>\r\n"
	arrayTail    = "</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n"
)

// wireEscaper escapes as oned's XML-RPC library does: quotes stay.
var wireEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#x0d;")

// encodeAnswer writes an answer byte for byte as oned does.
func encodeAnswer(method string, a answer) []byte {
	var b bytes.Buffer
	b.Grow(len(a.text) + len(a.text)/4 + 256)
	b.WriteString(responseHead + arrayHead)
	switch {
	case a.refusal != nil:
		b.WriteString("<value><boolean>0</boolean></value>\r\n")
		writeString(&b, "["+method+"] "+a.refusal.message)
		writeInt(&b, "i4", int(a.refusal.code))
		writeInt(&b, "i4", a.refusal.object)
		writeInt(&b, "i8", -1)
	case a.isText:
		b.WriteString("<value><boolean>1</boolean></value>\r\n")
		writeString(&b, a.text)
		writeInt(&b, "i4", 0)
	default:
		b.WriteString("<value><boolean>1</boolean></value>\r\n")
		writeInt(&b, "i4", a.number)
		writeInt(&b, "i4", 0)
	}
	b.WriteString(arrayTail)
	return b.Bytes()
}

func writeString(b *bytes.Buffer, text string) {
	b.WriteString("<value><string>")
	_, _ = wireEscaper.WriteString(b, text)
	b.WriteString("</string></value>\r\n")
}

func writeInt(b *bytes.Buffer, kind string, number int) {
	b.WriteString("<value><" + kind + ">")
	b.WriteString(strconv.Itoa(number))
	b.WriteString("</" + kind + "></value>\r\n")
}

// The faults of oned's XML-RPC library.
const (
	faultParse       = -503
	faultNoMethod    = -506
	faultTypeMissing = -501
)

// encodeFault writes an XML-RPC fault: the call never reached oned's methods.
func encodeFault(code int, message string) []byte {
	var b bytes.Buffer
	b.WriteString(responseHead + "<fault>\r\n<value><struct>\r\n<member><name>faultCode</name>\r\n")
	writeInt(&b, "i4", code)
	b.WriteString("</member>\r\n<member><name>faultString</name>\r\n")
	writeString(&b, message)
	b.WriteString("</member>\r\n</struct></value>\r\n</fault>\r\n</methodResponse>\r\n")
	return b.Bytes()
}
