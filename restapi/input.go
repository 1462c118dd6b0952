package restapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow"
)

// body reads the request's body, within the limit.
func (r *request) body() ([]byte, error) {
	text, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	}
	if err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	return text, nil
}

// attributes are a JSON object's, as a client sent them.
type attributes map[string]json.RawMessage

// object reads the body, which has to be a JSON object.
func (r *request) object() (attributes, error) {
	text, err := r.body()
	if err != nil {
		return nil, err
	}
	return readAttributes("the body", text)
}

func readAttributes(what string, text []byte) (attributes, error) {
	if err := flow.CheckNesting(text); err != nil {
		return nil, err
	}
	var read attributes
	if err := json.Unmarshal(text, &read); err != nil || read == nil {
		return nil, badRequest("%s must be a JSON object%s", what, because(err))
	}
	return read, nil
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// has says that the attribute is there and not null.
func (a attributes) has(name string) bool {
	value, found := a[name]
	return found && !bytes.Equal(bytes.TrimSpace(value), []byte("null"))
}

// text is an attribute that has to be a text, and not an empty one.
func (a attributes) text(name string) (string, error) {
	var value string
	if !a.has(name) {
		return "", badRequest("%q is missing; it must be a text", name)
	}
	if json.Unmarshal(a[name], &value) != nil {
		return "", badRequest("%q must be a text", name)
	}
	if strings.TrimSpace(value) == "" {
		return "", badRequest("%q is empty; it must be a text", name)
	}
	return value, nil
}

// whole is an attribute that has to be a whole number from 0 on, or a text of one.
func (a attributes) whole(name string) (int, error) {
	if !a.has(name) {
		return 0, badRequest("%q is missing; it must be a whole number from 0 on", name)
	}
	text := strings.TrimSpace(strings.Trim(string(a[name]), `"`))
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < 0 || value > math.MaxInt32 {
		return 0, badRequest("%q must be a whole number from 0 on", name)
	}
	return int(value), nil
}

// wholeOr is like whole with a value for an attribute that is not there.
func (a attributes) wholeOr(name string, missing int) (int, error) {
	if !a.has(name) {
		return missing, nil
	}
	return a.whole(name)
}

// wholeUnlessEmpty is like wholeOr, and takes an empty text for none: forms
// send what was not filled in.
func (a attributes) wholeUnlessEmpty(name string, missing int) (int, error) {
	if string(bytes.TrimSpace(a[name])) == `""` {
		return missing, nil
	}
	return a.wholeOr(name, missing)
}

// textOr is an attribute that has to be a text, which may be empty.
func (a attributes) textOr(name, missing string) (string, error) {
	value := missing
	if a.has(name) && json.Unmarshal(a[name], &value) != nil {
		return "", badRequest("%q must be a text", name)
	}
	return value, nil
}

// flag is an attribute that has to be true or false; false if it is not there.
func (a attributes) flag(name string) (bool, error) {
	var value bool
	if a.has(name) && json.Unmarshal(a[name], &value) != nil {
		return false, badRequest("%q must be true or false", name)
	}
	return value, nil
}

// action is {"action": {"perform": P, "params": {...}}}.
type action struct {
	perform string
	// params is nil if there were none.
	params attributes
}

// action reads the body as an action.
func (r *request) action() (action, error) {
	body, err := r.object()
	if err != nil {
		return action{}, err
	}
	if !body.has("action") {
		return action{}, badRequest(`"action" is missing; the body must look like {"action": {"perform": "rename", "params": {"name": "new"}}}`)
	}
	inner, err := readAttributes(`"action"`, body["action"])
	if err != nil {
		return action{}, err
	}
	var read action
	if read.perform, err = inner.text("perform"); err != nil {
		return action{}, err
	}
	if inner.has("params") {
		read.params, err = readAttributes(`"params"`, inner["params"])
	}
	return read, err
}
