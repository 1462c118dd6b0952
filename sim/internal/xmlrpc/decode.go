// Package xmlrpc is the wire of oned's API: it reads calls, and writes answers and the XML of
// objects in them byte for byte as oned does. It knows no call and no object.
package xmlrpc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Value is one parameter of a call. oned knows whole numbers, booleans and strings only.
type Value struct {
	Kind   Kind
	Text   string
	Number int
}

// Kind is a value's type, by the letter that stands for it in a call's signature.
type Kind byte

// The types of parameters. A boolean's Number is 1 or 0.
const (
	String Kind = 's'
	Int    Kind = 'i'
	Bool   Kind = 'b'
)

// Published is the parameter as an API event shows it.
func (v Value) Published() string {
	if v.Kind == String {
		return v.Text
	}
	return strconv.Itoa(v.Number)
}

// DecodeCall reads one methodCall. Texts are copies: a VM's name must not keep
// the call in memory that it came in.
func DecodeCall(body []byte) (method string, parameters []Value, err error) {
	r := onexml.New(body)
	if string(r.Root()) != "methodCall" || !onexml.IsClean(body) {
		return "", nil, errors.New("read an XML-RPC call: there is no methodCall in UTF-8")
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
