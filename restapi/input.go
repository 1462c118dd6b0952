package restapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

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

// action is {"action": {"perform": P, "params": {...}}}.
type action struct {
	perform string
	// params is nil if there were none.
	params attributes
}

var errNoPerform = badRequest(`"perform" is missing; it must be the name of an action`)

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
	if !inner.has("perform") {
		return read, errNoPerform
	}
	if read.perform, err = inner.text("perform"); err != nil {
		return action{}, err
	}
	if inner.has("params") {
		read.params, err = readAttributes(`"params"`, inner["params"])
	}
	return read, err
}
