package opennebula

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"sync"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// drafts are what calls are written into first, to know how long they are.
var drafts = sync.Pool{New: func() any { return new([]byte) }}

// encodeCall writes a call to the byte as kolo/xmlrpc does, with the kinds of
// arguments that oned's calls have: string or []byte, both of them a text, int and
// bool. What it returns is nobody else's: net/http may still read a call when
// its answer is here already.
func encodeCall(method, session string, arguments []any) ([]byte, error) {
	draft := drafts.Get().(*[]byte)
	defer drafts.Put(draft)
	call, err := appendCall((*draft)[:0], method, session, arguments)
	if err != nil {
		return nil, &TransportError{Method: method, Err: fmt.Errorf("encode the call: %w", err)}
	}
	if cap(call) > maxKept {
		return call, nil
	}
	*draft = call
	return bytes.Clone(call), nil
}

func appendCall(to []byte, method, session string, arguments []any) (call []byte, err error) {
	to = append(to, `<?xml version="1.0" encoding="UTF-8"?><methodCall><methodName>`+method+"</methodName><params>"...)
	to = appendText(to, []byte(session))
	for _, argument := range arguments {
		if to, err = appendArgument(to, argument); err != nil {
			return nil, err
		}
	}
	return append(to, "</params></methodCall>"...), nil
}

func appendArgument(to []byte, argument any) ([]byte, error) {
	switch value := argument.(type) {
	case string:
		return appendText(to, []byte(value)), nil
	case []byte:
		return appendText(to, value), nil
	case int:
		to = append(to, "<param><value><int>"...)
		to = strconv.AppendInt(to, int64(value), 10)
		return append(to, "</int></value></param>"...), nil
	case bool:
		digit := "0"
		if value {
			digit = "1"
		}
		return append(to, "<param><value><boolean>"+digit+"</boolean></value></param>"...), nil
	}
	return nil, fmt.Errorf("arguments of type %T are not supported", argument)
}

func appendText(to, text []byte) []byte {
	to = append(to, "<param><value><string>"...)
	to = appendEscaped(to, text)
	return append(to, "</string></value></param>"...)
}

// escapes are encoding/xml's.
var escapes = [256]string{
	'"': "&#34;", '\'': "&#39;", '&': "&amp;", '<': "&lt;", '>': "&gt;", '\t': "&#x9;", '\n': "&#xA;", '\r': "&#xD;",
}

// appendEscaped goes by the table where a text is clean, and leaves the rest to
// encoding/xml: a document is full of quotation marks.
func appendEscaped(to, text []byte) []byte {
	if !onexml.IsClean(text) {
		rest := bytes.NewBuffer(to)
		_ = xml.EscapeText(rest, text) // a buffer takes everything
		return rest.Bytes()
	}
	for _, c := range text {
		if escape := escapes[c]; escape != "" {
			to = append(to, escape...)
			continue
		}
		to = append(to, c)
	}
	return to
}
