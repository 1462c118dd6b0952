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
	return []byte(htmlEscapes.Replace(string(text)))
}

// htmlEscapes takes \\ for itself: what follows it is no escape.
var htmlEscapes = strings.NewReplacer(`\\`, `\\`, `\u003c`, "<", `\u003C`, "<", `\u003e`, ">", `\u003E`, ">", `\u0026`, "&")
