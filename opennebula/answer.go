package opennebula

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// answer is what oned answered, in memory that another call gets once it is
// released: what is kept of it is copied before. Each has one owner.
type answer struct {
	raw  bytes.Buffer
	text []byte
	// value is the second element of what oned answered: a text ([]byte, which
	// lies in text), an int64, a bool or nil.
	value any
}

// answers are those that were released. They are taken for what oned has begun to
// answer, so that there are no more than there are connections and readers.
var answers = sync.Pool{New: func() any { return new(answer) }}

func newAnswer() *answer { return answers.Get().(*answer) }

// released is told of memory that is let go of; tests spoil it.
var released = func([]byte) {}

// release lets go of the memory.
func (a *answer) release() {
	a.clear()
	answers.Put(a)
}

// clear keeps the memory alone, and not that of large lists.
func (a *answer) clear() {
	a.raw.Reset()
	released(a.raw.AvailableBuffer())
	released(a.text)
	if a.raw.Cap() > maxKept {
		a.raw = bytes.Buffer{}
	}
	if cap(a.text) > maxKept {
		a.text = nil
	}
	a.value = nil
}

// decoded is the answer taken apart; one that is of no use is released.
func (a *answer) decoded(method string) (*answer, error) {
	if err := a.decode(method); err != nil {
		a.release()
		return nil, err
	}
	return a, nil
}

// decode takes oned's answer apart: [true, value, errno, ...] or
// [false, message, errno, ...].
func (a *answer) decode(method string) error {
	var elements []any
	fault := ""
	r := onexml.New(a.raw.Bytes())
	r.Root()
	r.Each(func(name []byte) {
		switch string(name) {
		case "fault":
			fault = faultOf(r)
		case "params":
			r.At(func() { elements = append(elements, a.element(r, len(elements))) }, "param", "value", "array", "data", "value")
		}
	})
	switch err := r.Err(); {
	case err != nil:
		return &TransportError{Method: method, Sent: true, Err: fmt.Errorf("read the answer: %w", err)}
	case fault != "":
		return &TransportError{Method: method, Sent: true, Err: errors.New(fault)}
	case len(elements) < 2:
		return unexpected(method, elements)
	}
	if accepted, isBool := elements[0].(bool); !isBool {
		return unexpected(method, elements[0])
	} else if !accepted {
		return refusal(method, elements)
	}
	a.value = elements[1]
	return nil
}

// element reads a value of the answer: []byte, int64, bool, or nil for one of a
// type that oned does not use. The text of the second one is kept.
func (a *answer) element(r *onexml.Reader, position int) (value any) {
	r.Each(func(kind []byte) {
		switch string(kind) {
		case "string":
			if position == 1 {
				a.text = r.AppendText(a.text[:0])
				value = a.text
			}
		case "i4", "i8", "int":
			value = int64(r.Int())
		case "boolean":
			value = r.Int() == 1
		}
	})
	return value
}

// faultOf is an XML-RPC fault: the server knows no such method, or could not read
// the call.
func faultOf(r *onexml.Reader) string {
	code, text := 0, ""
	r.At(func() {
		name := ""
		r.Each(func(part []byte) {
			switch string(part) {
			case "name":
				name = r.String()
			case "value":
				r.Each(func([]byte) {
					switch name {
					case "faultCode":
						code = r.Int()
					case "faultString":
						text = r.String()
					}
				})
			}
		})
	}, "value", "struct", "member")
	return fmt.Sprintf("fault %d: %s", code, text)
}

// textValue is the answer's value, a text, until the answer is released.
func (a *answer) textValue(method string) ([]byte, error) {
	if text, is := a.value.([]byte); is {
		return text, nil
	}
	return nil, unexpected(method, a.value)
}

func refusal(method string, elements []any) error {
	message, _ := elements[1].([]byte)
	code := int64(CodeInternal)
	if len(elements) > 2 {
		if number, isNumber := elements[2].(int64); isNumber {
			code = number
		}
	}
	return &Error{Method: method, Code: Code(code), Message: string(onexml.Clean(message))}
}

func unexpected(method string, value any) error {
	return &TransportError{Method: method, Sent: true, Err: fmt.Errorf("the answer has an unexpected type (%T)", value)}
}

// readObject reads an object's XML that came as the value of a call.
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

// readPool reads the objects of a pool, which are elements of the name.
func readPool[T any](method string, text []byte, name string, of func(r *onexml.Reader) T) ([]T, error) {
	return readObject(method, text, func(r *onexml.Reader) []T {
		found := []T{}
		r.At(func() { found = append(found, of(r)) }, name)
		return found
	})
}

// readOwner reads one of the elements that say whose an object is, if it is one.
func readOwner(r *onexml.Reader, name []byte, owner *one.Identity) {
	switch string(name) {
	case "UID":
		owner.UID = r.Int()
	case "GID":
		owner.GID = r.Int()
	case "UNAME":
		owner.UName = r.String()
	case "GNAME":
		owner.GName = r.String()
	}
}
