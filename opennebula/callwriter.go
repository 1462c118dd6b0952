package opennebula

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"sync"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// drafts are for writing a call before its length is known.
var drafts = sync.Pool{New: func() any { return new([]byte) }}

// encodeCall writes a call to the byte as kolo/xmlrpc does, with the kinds of
// arguments that oned's calls have: string or []byte, both of them a text, int and
// bool. What it returns is nobody else's: net/http may still read a call when
// its answer is here already.
func encodeCall(method, session string, arguments []any) ([]byte, error) {
	draft := drafts.Get().(*[]byte)
	defer drafts.Put(draft)
	call := (*draft)[:0]
	call = append(call, `<?xml version="1.0" encoding="UTF-8"?><methodCall><methodName>`+method+"</methodName><params>"...)
	call = appendText(call, []byte(session))
	for _, argument := range arguments {
		switch value := argument.(type) {
		case string:
			call = appendText(call, []byte(value))
		case []byte:
			call = appendText(call, value)
		case int:
			call = append(call, "<param><value><int>"...)
			call = strconv.AppendInt(call, int64(value), 10)
			call = append(call, "</int></value></param>"...)
		case bool:
			digit := "0"
			if value {
				digit = "1"
			}
			call = append(call, "<param><value><boolean>"+digit+"</boolean></value></param>"...)
		default:
			return nil, &TransportError{Method: method, Err: fmt.Errorf("encode the call: arguments of type %T are not supported", argument)}
		}
	}
	call = append(call, "</params></methodCall>"...)
	if cap(call) > maxKept {
		return call, nil
	}
	*draft = call
	return bytes.Clone(call), nil
}

// escapes are encoding/xml's.
var escapes = [256]string{
	'"': "&#34;", '\'': "&#39;", '&': "&amp;", '<': "&lt;", '>': "&gt;", '\t': "&#x9;", '\n': "&#xA;", '\r': "&#xD;",
}

// appendText goes by the table where a text is clean, and leaves the rest to
// encoding/xml: a document is full of quotation marks.
func appendText(to, text []byte) []byte {
	to = append(to, "<param><value><string>"...)
	if onexml.IsClean(text) {
		for _, c := range text {
			if escape := escapes[c]; escape != "" {
				to = append(to, escape...)
				continue
			}
			to = append(to, c)
		}
	} else {
		rest := bytes.NewBuffer(to)
		_ = xml.EscapeText(rest, text) // a buffer takes everything
		to = rest.Bytes()
	}
	return append(to, "</string></value></param>"...)
}
