package opennebula

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// decodeAnswer returns the second element of oned's answer, [true, value, errno, ...] or
// [false, message, errno, ...]. An element is a text ([]byte), an int64, a bool, or nil for
// a type that oned does not use. Only the second one's text is read.
func decodeAnswer(method string, answer []byte) (any, error) {
	var elements []any
	var fault error
	r := onexml.New(answer)
	r.Root()
	r.Each(func(name []byte) {
		switch string(name) {
		case "fault":
			fault = faultOf(r, method)
		case "params":
			r.At(func() {
				var value any
				r.Each(func(kind []byte) {
					switch string(kind) {
					case "string":
						if len(elements) == 1 {
							value = r.AppendText(nil)
						}
					case "i4", "i8", "int":
						value = int64(r.Int())
					case "boolean":
						value = r.Int() == 1
					}
				})
				elements = append(elements, value)
			}, "param", "value", "array", "data", "value")
		}
	})
	switch err := r.Err(); {
	case err != nil:
		return nil, &TransportError{Method: method, Sent: true, Err: fmt.Errorf("read the answer: %w", err)}
	case fault != nil:
		return nil, fault
	case len(elements) < 2:
		return nil, unexpected(method, elements)
	}
	accepted, isBool := elements[0].(bool)
	if !isBool {
		return nil, unexpected(method, elements[0])
	}
	if accepted {
		return elements[1], nil
	}
	refusal := &Error{Method: method, Code: CodeInternal}
	if len(elements) > 2 {
		if code, isNumber := elements[2].(int64); isNumber {
			refusal.Code = Code(code)
		}
	}
	message, _ := elements[1].([]byte)
	refusal.Message = string(onexml.Clean(message))
	return nil, refusal
}

// faultUnreadable is the fault for a call that oned's XML-RPC library could not read: no method was executed, and
// the same call is refused again.
const faultUnreadable = -503

// faultOf reads an XML-RPC fault: an unknown method, or a call that could not be read.
func faultOf(r *onexml.Reader, method string) error {
	name, code, text := "", 0, ""
	r.At(func() {
		r.Fields(onexml.Fields{"name": &name, "value": func() {
			r.Each(func([]byte) {
				switch name {
				case "faultCode":
					code = r.Int()
				case "faultString":
					text = r.String()
				}
			})
		}})
	}, "value", "struct", "member")
	if code == faultUnreadable {
		return &Error{Method: method, Code: CodeXMLRPC, Message: text}
	}
	return &TransportError{Method: method, Sent: true, Err: fmt.Errorf("fault %d: %s", code, text)}
}

func unexpected(method string, value any) error {
	return &TransportError{Method: method, Sent: true, Err: fmt.Errorf("the answer has an unexpected type (%T)", value)}
}

// readObject reads an object's XML from the value of a call.
func readObject[T any](method string, text []byte, of func(r *onexml.Reader) T) (T, error) {
	r := onexml.New(text)
	r.Root()
	found := of(r)
	if err := r.Err(); err != nil {
		var none T
		return none, &TransportError{Method: method, Sent: true, Err: fmt.Errorf("read the object's XML: %w", err)}
	}
	return found, nil
}

// readPool reads a pool's objects, elements of the name.
func readPool[T any](method string, text []byte, name string, of func(r *onexml.Reader) T) ([]T, error) {
	return readObject(method, text, func(r *onexml.Reader) []T {
		found := []T{}
		r.At(func() { found = append(found, of(r)) }, name)
		return found
	})
}

// encodeCall writes a call to the byte as kolo/xmlrpc does, at a third of its cost for a document, with the kinds of
// arguments that oned's calls have: string, int and bool.
func encodeCall(method, session string, arguments []any) ([]byte, error) {
	var call bytes.Buffer
	call.WriteString(`<?xml version="1.0" encoding="UTF-8"?><methodCall><methodName>` + method + "</methodName><params>")
	for _, argument := range append([]any{session}, arguments...) {
		var kind, text string
		switch value := argument.(type) {
		case string:
			kind, text = "string", string(onexml.Clean([]byte(value)))
		case int:
			kind, text = "int", strconv.Itoa(value)
		case bool:
			if kind, text = "boolean", "0"; value {
				text = "1"
			}
		default:
			return nil, &TransportError{Method: method, Err: fmt.Errorf("encode the call: arguments of type %T are not supported", argument)}
		}
		call.WriteString("<param><value><" + kind + ">")
		_, _ = escapes.WriteString(&call, text) // a buffer accepts everything
		call.WriteString("</" + kind + "></value></param>")
	}
	call.WriteString("</params></methodCall>")
	return call.Bytes(), nil
}

// escapes are encoding/xml's.
var escapes = strings.NewReplacer(
	`"`, "&#34;", "'", "&#39;", "&", "&amp;", "<", "&lt;", ">", "&gt;", "\t", "&#x9;", "\n", "&#xA;", "\r", "&#xD;")
