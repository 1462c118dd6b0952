package sim

import (
	"strconv"

	"github.com/flowjet/flowjet/opennebula"
)

// answer is what a call gives back: a value, or oned's refusal.
type answer struct {
	text   string
	number int
	isText bool
	// written is a read's answer up to the end of its text, as it will be sent.
	written *xmlWriter
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

// xmlAnswer answers a read with the XML that the function writes. Calls that are
// published answer by textAnswer, for their events show it as it is.
func xmlAnswer(write func(b *xmlWriter)) answer {
	b := beginAnswer(true)
	b.WriteString(stringHead)
	write(b)
	b.WriteString(stringTail)
	return answer{written: b, isText: true}
}

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
	stringHead   = "<value><string>"
	stringTail   = "</string></value>\r\n"
)

// beginAnswer writes an answer up to its first boolean.
func beginAnswer(ok bool) *xmlWriter {
	b := newXML(wireForm)
	b.WriteString(responseHead + arrayHead)
	if ok {
		b.WriteString("<value><boolean>1</boolean></value>\r\n")
	} else {
		b.WriteString("<value><boolean>0</boolean></value>\r\n")
	}
	return b
}

// encodeAnswer writes an answer byte for byte as oned does.
func encodeAnswer(method string, a answer) *xmlWriter {
	b := a.written
	if b == nil {
		b = beginAnswer(a.ok())
	}
	switch {
	case a.refusal != nil:
		writeString(b, "["+method+"] "+a.refusal.message)
		writeInt(b, "i4", int(a.refusal.code))
		writeInt(b, "i4", a.refusal.object)
		writeInt(b, "i8", -1)
	case a.written != nil:
		writeInt(b, "i4", 0)
	case a.isText:
		writeString(b, a.text)
		writeInt(b, "i4", 0)
	default:
		writeInt(b, "i4", a.number)
		writeInt(b, "i4", 0)
	}
	b.WriteString(arrayTail)
	return b
}

func writeString(b *xmlWriter, text string) {
	b.WriteString(stringHead)
	markup(b, text)
	b.WriteString(stringTail)
}

func writeInt(b *xmlWriter, kind string, number int) {
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
func encodeFault(code int, message string) *xmlWriter {
	b := newXML(wireForm)
	b.WriteString(responseHead + "<fault>\r\n<value><struct>\r\n<member><name>faultCode</name>\r\n")
	writeInt(b, "i4", code)
	b.WriteString("</member>\r\n<member><name>faultString</name>\r\n")
	writeString(b, message)
	b.WriteString("</member>\r\n</struct></value>\r\n</fault>\r\n</methodResponse>\r\n")
	return b
}
