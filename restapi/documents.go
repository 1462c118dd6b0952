package restapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/opennebula"
)

// documentView is a document as OneFlow shows it, with ids outside of BODY as texts.
type documentView struct {
	ID          int                    `json:"ID,string"`
	UID         int                    `json:"UID,string"`
	GID         int                    `json:"GID,string"`
	UName       string                 `json:"UNAME"`
	GName       string                 `json:"GNAME"`
	Name        string                 `json:"NAME"`
	Type        int                    `json:"TYPE,string"`
	Permissions opennebula.Permissions `json:"PERMISSIONS"`
	Template    struct {
		Body json.RawMessage `json:"BODY"`
	} `json:"TEMPLATE"`
}

const (
	poolStart = "{\n  \"DOCUMENT_POOL\": {\n    \"DOCUMENT\": ["
	poolEnd   = "\n    ]\n  }\n}"
	// poolIndent is in front of each line of a document in a list.
	poolIndent = "      "
	// documentFrame is about the size of a document without its body.
	documentFrame = 640
	// mostBlanks is how many times as long as its text the indentation of a body may be: that of deep lists of short values is longer, and they are
	// shown without.
	mostBlanks = 4
)

// render writes a document as OneFlow lays it out. A body that is not a JSON object is replaced by one whose log reports
// that: a client that lists a thousand services must not fail because of one.
func render(document opennebula.Document, prefix string) []byte {
	owner := document.Owner
	view := documentView{
		ID: document.ID, UID: owner.UID, GID: owner.GID, UName: owner.UName, GName: owner.GName, Name: document.Name,
		Type: document.Type, Permissions: document.Permissions,
	}
	var out bytes.Buffer
	out.Grow(2*len(document.Body) + documentFrame)
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	text := bytes.TrimSpace(document.Body)
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	view.Template.Body = readable(text)
	blanks, nesting := template.CheckNesting(text)
	if blanks <= mostBlanks*len(text)+documentFrame {
		encoder.SetIndent(prefix, "  ")
	}
	if !bytes.HasPrefix(text, []byte("{")) || nesting != nil || encoder.Encode(view) != nil {
		view.Template.Body = unreadable(document)
		_ = encoder.Encode(view) // it is our own
	}
	return bytes.TrimSpace(out.Bytes())
}

func unreadable(document opennebula.Document) []byte {
	isService := document.Type == spec.DocumentTypeService
	message := "the body of document %[1]d in OpenNebula is not valid JSON; correct it as docs/troubleshooting.md describes, or delete the document"
	switch {
	case len(document.Body) == 0:
		message = "the list is too long to show the body of document %[1]d, which is empty or long; read it by itself"
	case isService: // its record exists
		message = "the body of document %[1]d in OpenNebula is not valid JSON; `oneflow recover %[1]d` writes it as Flowjet has it; else correct it as docs/troubleshooting.md describes, or delete the document"
	}
	body := spec.Body{
		Name: document.Name, Roles: []spec.Role{},
		Log: []spec.LogEntry{{Timestamp: time.Now().Unix(), Severity: "E", Message: fmt.Sprintf(message, document.ID)}},
	}
	if isService {
		body.State = new(spec.ServiceWarning)
	}
	return encodeBody(body)
}

// readService returns the body of a service's document.
func readService(document opennebula.Document) (spec.Body, error) {
	body, _, err := spec.ReadService(document.Body)
	if err != nil {
		return spec.Body{}, failure(http.StatusInternalServerError, "service %[1]d: %[2]s; `oneflow recover %[1]d` writes it as Flowjet has it", document.ID, err)
	}
	return body, nil
}

func encodeBody(body spec.Body) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		// A Body holds plain values and JSON that was read before.
		panic("restapi: write a body: " + err.Error())
	}
	return readable(text)
}

// readable returns a JSON text with \u003c and the like as <, > and & where they were written so: it keeps an elasticity expression readable.
func readable(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\u00`)) {
		return text
	}
	return []byte(htmlEscapes.Replace(string(text)))
}

// htmlEscapes consumes \\ first: the text behind it is no escape.
var htmlEscapes = strings.NewReplacer(`\\`, `\\`, `\u003c`, "<", `\u003C`, "<", `\u003e`, ">", `\u003E`, ">", `\u0026`, "&")

func show(status int, document opennebula.Document) (answer, error) {
	text := slices.Concat([]byte("{\n  \"DOCUMENT\": "), render(document, "  "), []byte("\n}"))
	return answer{status: status, contentType: textType, body: text}, nil
}

func newRendered() *memo[[]byte] {
	return &memo[[]byte]{
		make: func(document opennebula.Document) []byte { return render(document, poolIndent) },
		size: func(document opennebula.Document, text []byte) int { return len(document.Body) + cap(text) },
	}
}

func showAll(documents []opennebula.Document, rendered *memo[[]byte]) (answer, error) {
	if len(documents) == 0 {
		return answer{status: http.StatusOK, contentType: textType, body: []byte("{\n  \"DOCUMENT_POOL\": {}\n}")}, nil
	}
	texts, size := make([][]byte, len(documents)), documentFrame
	for i, document := range documents {
		texts[i] = rendered.of(document)
		size += len(texts[i]) + len(",\n"+poolIndent)
	}
	pool := append(make([]byte, 0, size), poolStart...)
	for i, text := range texts {
		if i > 0 {
			pool = append(pool, ',')
		}
		pool = append(append(pool, "\n"+poolIndent...), text...)
	}
	return answer{status: http.StatusOK, contentType: textType, body: append(pool, poolEnd...)}, nil
}

func listDocuments(documentType int, rendered *memo[[]byte]) endpoint {
	return func(ctx context.Context, r *request) (answer, error) {
		documents, err := r.list(ctx, documentType)
		if err != nil {
			return answer{}, err
		}
		return showAll(documents, rendered)
	}
}

// showDocument answers with the document that the path names, or 304 if the client has it already.
func showDocument(_ context.Context, r *request, document opennebula.Document, _ attributes) (answer, error) {
	etag := document.ETag()
	if given, _ := r.tags("If-None-Match"); slices.Contains(given, "*") || slices.Contains(given, etag) {
		return answer{status: http.StatusNotModified, etag: etag}, nil
	}
	reply, err := show(http.StatusOK, document)
	reply.etag = etag
	return reply, err
}

const maxMemoBytes = 64 << 20

// memo keeps values made of documents: of thousands in a list, few have changed since the last read. It returns a value
// only for the very same document.
type memo[T any] struct {
	make func(opennebula.Document) T
	// size returns about how many bytes a T takes, with its document.
	size func(opennebula.Document, T) int

	mu sync.Mutex
	// made are by the document's id; when they take half of the limit they become former, and former entries that were not
	// used meanwhile are dropped.
	made, former map[int]madeOf[T]
	bytes        int
}

type madeOf[T any] struct {
	document opennebula.Document
	value    T
}

func (m *memo[T]) of(document opennebula.Document) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, found := m.made[document.ID]
	if found && same(known.document, document) {
		return known.value
	}
	if known, found = m.former[document.ID]; !found || !same(known.document, document) {
		func() { // others do not wait for it
			m.mu.Unlock()
			defer m.mu.Lock()
			known = madeOf[T]{document, m.make(document)}
		}()
	}
	if m.made == nil || m.bytes > maxMemoBytes/2 {
		m.made, m.former, m.bytes = map[int]madeOf[T]{}, m.made, 0
	}
	if before, found := m.made[document.ID]; found {
		m.bytes -= m.size(before.document, before.value)
	}
	m.made[document.ID] = known
	m.bytes += m.size(known.document, known.value)
	return known.value
}

func same(a, b opennebula.Document) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Owner == b.Owner && a.Name == b.Name &&
		a.Permissions == b.Permissions && a.Locked == b.Locked && bytes.Equal(a.Body, b.Body)
}
