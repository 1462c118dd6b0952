package sim

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
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

type wireRequest struct {
	XMLName xml.Name    `xml:"methodCall"`
	Method  string      `xml:"methodName"`
	Params  []wireParam `xml:"params>param"`
}

type wireParam struct {
	Value wireValue `xml:"value"`
}

type wireValue struct {
	Typed []wireTyped `xml:",any"`
	Plain string      `xml:",chardata"`
}

type wireTyped struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
}

// decodeRequest reads one methodCall.
func decodeRequest(body []byte) (method string, parameters []value, err error) {
	request, plain := plainRequest(body)
	if !plain {
		if request, err = anyRequest(body); err != nil {
			return "", nil, fmt.Errorf("read an XML-RPC call: %w", err)
		}
	}
	return request.decoded()
}

// decoded are the call's method and parameters.
func (r wireRequest) decoded() (method string, parameters []value, err error) {
	method = strings.TrimSpace(r.Method)
	if method == "" {
		return "", nil, errors.New("read an XML-RPC call: there is no methodName")
	}
	for i, parameter := range r.Params {
		v, err := decodeValue(parameter.Value)
		if err != nil {
			return "", nil, fmt.Errorf("read parameter %d of %s: %w", i+1, method, err)
		}
		parameters = append(parameters, v)
	}
	return method, parameters, nil
}

// anyRequest reads a methodCall in whatever XML it is written.
func anyRequest(body []byte) (request wireRequest, err error) {
	decoder := xml.NewDecoder(bytes.NewReader(body))
	decoder.CharsetReader = acceptCharset
	err = decoder.Decode(&request)
	return request, err
}

// acceptCharset lets the encodings pass that are UTF-8 for what clients send.
func acceptCharset(charset string, input io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "utf-8", "us-ascii", "ascii":
		return input, nil
	}
	return nil, fmt.Errorf("encoding %q: send UTF-8", charset)
}

func decodeValue(wire wireValue) (value, error) {
	if len(wire.Typed) == 0 {
		return value{kind: kindString, text: wire.Plain}, nil
	}
	typed := wire.Typed[0]
	switch typed.XMLName.Local {
	case "string":
		return value{kind: kindString, text: typed.Text}, nil
	case "i4", "int", "i8":
		number, err := strconv.Atoi(strings.TrimSpace(typed.Text))
		if err != nil {
			return value{}, fmt.Errorf("%q is not a whole number", typed.Text)
		}
		return value{kind: kindInt, number: number}, nil
	case "boolean":
		switch strings.TrimSpace(typed.Text) {
		case "1":
			return value{kind: kindBool, number: 1}, nil
		case "0":
			return value{kind: kindBool}, nil
		}
		return value{}, fmt.Errorf("%q is not a boolean", typed.Text)
	}
	return value{}, fmt.Errorf("oned takes no %s", typed.XMLName.Local)
}
