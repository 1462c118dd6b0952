package restapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/template"
)

const (
	// textType is OneFlow's content type, whatever the content.
	textType = "text/html;charset=utf-8"
	jsonType = "application/json"
	// problemType is the content type of errors below ownPrefix (RFC 9457).
	problemType = "application/problem+json"
)

// answer is the answer of an endpoint.
type answer struct {
	status int
	// contentType is jsonType, or textType for what OneFlow answers so.
	contentType string
	location    string
	etag        string
	// replayed reports whether it was given before, to a request with the same key.
	replayed bool
	// warning is what the client may not have meant to do.
	warning string
	body    []byte
	cookie  *http.Cookie
	// violations are of the request's body, for a problem.
	violations template.Violations
}

// done is the answer without a body.
var done = answer{status: http.StatusNoContent}

// problem is an error below ownPrefix.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Violations are of a body that was refused.
	Violations template.Violations `json:"violations,omitempty"`
}

// write writes an answer to r. OneFlow's clients expect errors as texts and documents
// as HTML; below ownPrefix both are JSON.
func (a answer) write(w http.ResponseWriter, r *http.Request) {
	if isOwn(r) && a.contentType != jsonType {
		a.contentType = jsonType
		if a.status >= http.StatusBadRequest {
			text, _ := json.Marshal(problem{"about:blank", http.StatusText(a.status), a.status, string(a.body), a.violations}) // plain values
			a.contentType, a.body = problemType, text
		}
	}
	header := w.Header()
	if a.location != "" {
		header.Set("Location", a.location)
	}
	if a.cookie != nil {
		http.SetCookie(w, a.cookie)
	}
	if a.etag != "" {
		header.Set("ETag", a.etag)
	}
	if a.replayed {
		header.Set("Idempotent-Replayed", "true")
	}
	if a.warning != "" {
		header.Set("Warning", "299 flowjet "+strconv.QuoteToASCII(a.warning))
	}
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		w.WriteHeader(a.status)
		return
	}
	header.Set("Content-Type", cmp.Or(a.contentType, textType))
	w.WriteHeader(a.status)
	// An error here means that the client has gone.
	_, _ = w.Write(a.body)
}

// pretty is an answer in JSON that people can read, too.
func pretty(status int, value any) (answer, error) {
	var compact, indented bytes.Buffer
	encoder := json.NewEncoder(&compact)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return answer{}, err
	}
	if err := json.Indent(&indented, bytes.TrimSpace(compact.Bytes()), "", "  "); err != nil {
		return answer{}, err
	}
	return answer{status: status, contentType: jsonType, body: indented.Bytes()}, nil
}

// readable is a JSON text with <, > and & as themselves, where they were
// written as \u003c and the like: an elasticity expression should look like one.
func readable(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\u00`)) {
		return text
	}
	var out bytes.Buffer
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		if plain, found := htmlEscape(text[i:]); found {
			out.WriteByte(plain)
			i += len(`\u003c`) - 1
			continue
		}
		// An escaped character, \\ above all, is copied with its backslash.
		out.Write(text[i : i+2])
		i++
	}
	return out.Bytes()
}

func htmlEscape(text []byte) (plain byte, found bool) {
	if len(text) < len(`\u003c`) {
		return 0, false
	}
	switch strings.ToLower(string(text[:len(`\u003c`)])) {
	case `\u003c`:
		return '<', true
	case `\u003e`:
		return '>', true
	case `\u0026`:
		return '&', true
	}
	return 0, false
}
