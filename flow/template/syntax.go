package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/flowjet/flowjet/flow/internal/raw"
)

// MaxNesting is how deep objects and arrays may be nested in what clients
// send. OneFlow's own documents need about ten.
const MaxNesting = 64

// SyntaxError is a text that is not the JSON object that was asked for.
type SyntaxError struct{ Reason string }

// Error says what is wrong with the text, and where.
func (e *SyntaxError) Error() string { return e.Reason }

// readObject reads a text that has to be one JSON object.
func readObject(text []byte) (raw.Object, error) {
	if err := CheckNesting(text); err != nil {
		return nil, err
	}
	var whole raw.Object
	err := json.Unmarshal(text, &whole)
	var syntax *json.SyntaxError
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, &SyntaxError{Reason: "the body is empty; it must be a JSON object"}
	case errors.As(err, &syntax):
		return nil, &SyntaxError{Reason: fmt.Sprintf("the body is not JSON: %v (byte %d)", syntax, syntax.Offset)}
	case err != nil || whole == nil:
		return nil, &SyntaxError{Reason: fmt.Sprintf("the body is %s; it must be a JSON object", raw.KindOf(text))}
	}
	return whole, nil
}

// CheckNesting refuses texts that are nested deeper than MaxNesting, without
// reading them. It says nothing about texts that are not JSON.
func CheckNesting(text []byte) error {
	depth, inText := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > MaxNesting {
				return &SyntaxError{Reason: fmt.Sprintf("the body is nested deeper than %d levels (byte %d)", MaxNesting, i+1)}
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
