package sim

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// maxRequestBytes bounds a call's body. The largest real ones carry a
// service's document.
const maxRequestBytes = 16 << 20

// value is one parameter of a call. oned knows whole numbers, booleans and
// strings only.
type value struct {
	kind   valueKind
	text   string
	number int
}

type valueKind uint8

const (
	kindString valueKind = iota
	kindInt
	kindBool
)

// published is the parameter as an API event shows it.
func (v value) published() string {
	if v.kind == kindString {
		return v.text
	}
	return strconv.Itoa(v.number)
}

// decodeRequest reads one methodCall. Texts are copies: a VM's name must not keep
// the call in memory that it came in.
func decodeRequest(body []byte) (method string, parameters []value, err error) {
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
func decodeValue(r *onexml.Reader) (v value, err error) {
	typed := false
	plain := r.Content(func(kind []byte) {
		text := r.String()
		if !typed {
			v, err = typedValue(string(kind), text)
		}
		typed = true
	})
	if !typed {
		return value{kind: kindString, text: plain}, nil
	}
	return v, err
}

func typedValue(kind, text string) (value, error) {
	switch kind {
	case "string":
		return value{kind: kindString, text: text}, nil
	case "i4", "int", "i8":
		number, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return value{}, fmt.Errorf("%q is not a whole number", text)
		}
		return value{kind: kindInt, number: number}, nil
	case "boolean":
		switch strings.TrimSpace(text) {
		case "1":
			return value{kind: kindBool, number: 1}, nil
		case "0":
			return value{kind: kindBool}, nil
		}
		return value{}, fmt.Errorf("%q is not a boolean", text)
	}
	return value{}, fmt.Errorf("oned takes no %s", kind)
}
