package xmlrpc

import "strconv"

const (
	responseHead = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n"
	arrayHead    = "<params>\r\n<param><value><array><data>\r\n"
	arrayTail    = "</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n"
)

// NewAnswer begins an answer with the boolean of its outcome; its further
// values and EndAnswer follow.
func NewAnswer(ok bool) *Writer {
	w := newWriter(wireForm)
	w.WriteString(responseHead + arrayHead + "<value><boolean>")
	if ok {
		w.WriteByte('1')
	} else {
		w.WriteByte('0')
	}
	w.WriteString("</boolean></value>\r\n")
	return w
}

// EndAnswer writes the end of an answer.
func (w *Writer) EndAnswer() { w.WriteString(arrayTail) }

const stringHead, stringTail = "<value><string>", "</string></value>\r\n"

// XMLValue writes a string of an answer: an element, in which stands what the function writes.
func (w *Writer) XMLValue(name string, write func(w *Writer)) {
	w.WriteString(stringHead)
	w.Within(name, write)
	w.WriteString(stringTail)
}

// TextValue writes a string of an answer.
func (w *Writer) TextValue(text string) {
	w.WriteString(stringHead)
	w.Markup(text)
	w.WriteString(stringTail)
}

// IntValue writes a number of an answer; its type is i4 or i8.
func (w *Writer) IntValue(kind string, number int) {
	w.WriteString("<value><" + kind + ">")
	w.WriteString(strconv.Itoa(number))
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
	w := newWriter(wireForm)
	w.WriteString(responseHead + "<fault>\r\n<value><struct>\r\n<member><name>faultCode</name>\r\n")
	w.IntValue("i4", code)
	w.WriteString("</member>\r\n<member><name>faultString</name>\r\n")
	w.TextValue(message)
	w.WriteString("</member>\r\n</struct></value>\r\n</fault>\r\n</methodResponse>\r\n")
	return w
}
