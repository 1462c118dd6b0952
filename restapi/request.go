package restapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/template"
)

// request is an authenticated user's request, as an endpoint gets it.
type request struct {
	*http.Request
	caller caller
	// oned is the session in which the caller's calls are made.
	oned session
	// keyed is set for a request with an Idempotency-Key.
	keyed *keyed
	// own is true below ownPrefix.
	own bool
}

// endpoint answers a request of an authenticated user.
type endpoint func(ctx context.Context, r *request) (answer, error)

func isOwn(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, ownPrefix+"/") }

func (r *request) dryRun() bool { return r.URL.Query().Get("dry_run") == "true" }

// id returns an id in the path. What is not a number is the id of nothing.
func (r *request) id(wildcard, what string) (int, error) {
	text := r.PathValue(wildcard)
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || id < 0 {
		return 0, &statusError{http.StatusNotFound, "there is no " + what + " " + strconv.Quote(text) + ": ids are whole numbers, 0 or more"}
	}
	return int(id), nil
}

// newCommand returns a command of the request's caller. Its id cannot be guessed, and is the
// same again for a request with a key.
func (r *request) newCommand(service int, verb flow.Verb) flow.Command {
	id := rand.Text()
	if r.keyed != nil {
		id = r.keyed.command
	}
	return flow.Command{ID: id, Verb: verb, Service: service, User: r.caller.Identity}
}

// body reads the request's body, within the limit.
func (r *request) body() ([]byte, error) {
	text, err := io.ReadAll(r.Body)
	if tooLarge, is := errors.AsType[*http.MaxBytesError](err); is {
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
	if err := template.CheckNesting(text); err != nil {
		return nil, err
	}
	var read attributes
	if err := json.Unmarshal(text, &read); err != nil {
		return nil, badRequest("%s must be a JSON object: %v", what, err)
	}
	if read == nil {
		return nil, badRequest("%s must be a JSON object", what)
	}
	return read, nil
}

// action is {"action": {"perform": P, "params": {...}}}.
type action struct {
	perform string
	// params is nil if there were none.
	params attributes
}

var errNoPerform = badRequest(`"perform" is missing; it must be the name of an action`)

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

// maxTags bounds how many entity tags a request may name.
const maxTags = 32

// ifMatch are the entity tags of a changing request's If-Match; none without it.
func (r *request) ifMatch() ([]string, error) {
	if r.Method == http.MethodGet {
		return nil, nil
	}
	tags := entityTags(r.Header.Values("If-Match"))
	if len(tags) > maxTags {
		return nil, badRequest("If-Match has %d entity tags; the maximum is %d", len(tags), maxTags)
	}
	return tags, nil
}

func entityTags(headers []string) []string {
	var tags []string
	for _, header := range headers {
		for tag := range strings.SplitSeq(header, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}
