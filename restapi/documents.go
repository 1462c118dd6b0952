package restapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/opennebula"
)

func show(status int, document opennebula.Document) (answer, error) {
	p := printer{now: time.Now()}
	p.text(0, "{\n  \"DOCUMENT\": ")
	p.document(1, document)
	p.text(0, "\n}")
	return answer{status: status, contentType: textType, body: p.out.Bytes()}, nil
}

func newRendered() *memo[[]byte] {
	return &memo[[]byte]{
		make: func(document opennebula.Document) []byte {
			p := printer{now: time.Now()}
			p.out.Grow(2*len(document.Body) + documentFrame)
			p.document(listLevel, document)
			return p.out.Bytes()
		},
		size: func(document opennebula.Document, text []byte) int { return len(document.Body) + cap(text) },
	}
}

const listLevel = 3

func showAll(status int, documents []opennebula.Document, rendered *memo[[]byte]) (answer, error) {
	if len(documents) == 0 {
		return answer{status: status, contentType: textType, body: []byte("{\n  \"DOCUMENT_POOL\": {}\n}")}, nil
	}
	texts, size := make([][]byte, len(documents)), documentFrame
	for i, document := range documents {
		texts[i] = rendered.of(document)
		size += len(texts[i]) + len(",\n") + listLevel*len(indent)
	}
	var p printer
	p.out.Grow(size)
	p.text(0, "{\n  \"DOCUMENT_POOL\": {\n    \"DOCUMENT\": [")
	for i, text := range texts {
		if i > 0 {
			p.text(0, `,`)
		}
		p.text(0, "\n")
		p.text(listLevel, ``)
		p.out.Write(text)
	}
	p.text(0, "\n    ]\n  }\n}")
	return answer{status: status, contentType: textType, body: p.out.Bytes()}, nil
}

// listDocuments answers with all documents of a type that the caller may see.
func listDocuments(documentType int, rendered *memo[[]byte]) endpoint {
	return func(ctx context.Context, r *request) (answer, error) {
		documents, err := r.oned.Documents(ctx, documentType, allVisible, -1, -1)
		if err != nil {
			return answer{}, fmt.Errorf("list %ss: %w", kindNames[documentType], err)
		}
		return showAll(http.StatusOK, documents, rendered)
	}
}

// showDocument answers with the document that the path names: 304 if the client has it
// already.
func showDocument(documentType int) endpoint {
	return func(ctx context.Context, r *request) (answer, error) {
		document, err := r.document(ctx, documentType)
		if err != nil {
			return answer{}, err
		}
		etag := document.ETag()
		if given := entityTags(r.Header.Values("If-None-Match")); slices.Contains(given, "*") || slices.Contains(given, etag) {
			return answer{status: http.StatusNotModified, etag: etag}, nil
		}
		reply, err := show(http.StatusOK, document)
		reply.etag = etag
		return reply, err
	}
}

// documentFrame is about what a document takes beside its body.
const documentFrame = 640

// printer writes documents as OneFlow lays them out: indented by two blanks,
// with ids as texts outside of BODY. It writes them as they come, because to
// build a tree of a thousand services, encode it and indent it takes longer than
// oned takes to send them.
type printer struct {
	out bytes.Buffer
	now time.Time
}

const indent = "  "

// text writes at a level of indentation.
func (p *printer) text(level int, text string) {
	for range level {
		p.out.WriteString(indent)
	}
	p.out.WriteString(text)
}

func (p *printer) line(level int, text string) {
	p.text(level, text)
	p.out.WriteByte('\n')
}

// member writes one attribute whose value is a text, with <, > and & as themselves.
func (p *printer) member(level int, name, value, end string) {
	p.text(level, `"`)
	p.out.WriteString(name)
	p.out.WriteString(`": `)
	encoder := json.NewEncoder(&p.out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // a text can always be encoded
	p.out.Truncate(p.out.Len() - len("\n"))
	p.out.WriteString(end)
}

func (p *printer) document(level int, document opennebula.Document) {
	inner := level + 1
	p.line(0, `{`)
	for _, attribute := range []struct{ name, value string }{
		{"ID", strconv.Itoa(document.ID)}, {"UID", strconv.Itoa(document.Owner.UID)}, {"GID", strconv.Itoa(document.Owner.GID)},
		{"UNAME", document.Owner.UName}, {"GNAME", document.Owner.GName}, {"NAME", document.Name}, {"TYPE", strconv.Itoa(document.Type)},
	} {
		p.member(inner, attribute.name, attribute.value, ",\n")
	}
	p.line(inner, `"PERMISSIONS": {`)
	bits := document.Permissions
	for i, bit := range []struct {
		name  string
		value int
	}{
		{"OWNER_U", bits.OwnerU}, {"OWNER_M", bits.OwnerM}, {"OWNER_A", bits.OwnerA},
		{"GROUP_U", bits.GroupU}, {"GROUP_M", bits.GroupM}, {"GROUP_A", bits.GroupA},
		{"OTHER_U", bits.OtherU}, {"OTHER_M", bits.OtherM}, {"OTHER_A", bits.OtherA},
	} {
		if i > 0 {
			p.out.WriteString(",\n")
		}
		p.member(inner+1, bit.name, strconv.Itoa(bit.value), "")
	}
	p.text(0, "\n")
	p.line(inner, `},`)
	p.line(inner, `"TEMPLATE": {`)
	p.text(inner+1, `"BODY": `)
	p.body(inner+1, document)
	p.text(0, "\n")
	p.line(inner, `}`)
	p.text(level, `}`)
}

// body writes a document's body, made readable. One that is not a JSON object is
// replaced by one that says so in its log: a client that lists a thousand
// services must not fail because of one.
func (p *printer) body(level int, document opennebula.Document) {
	text := bytes.TrimSpace(document.Body)
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	prefix := strings.Repeat(indent, level)
	if len(text) > 0 && text[0] == '{' && template.CheckNesting(text) == nil &&
		json.Indent(&p.out, readable(text), prefix, indent) == nil {
		return
	}
	message := "the body of document %d in OpenNebula is not valid JSON; repair it with onedb or delete the document"
	if len(document.Body) == 0 {
		message = "the list is too long to show the body of document %d, which is empty or long; read it by itself"
	}
	body := spec.Body{
		Name: document.Name, Roles: []spec.Role{},
		Log: []spec.LogEntry{{Timestamp: p.now.Unix(), Severity: "E", Message: fmt.Sprintf(message, document.ID)}},
	}
	if document.Type == spec.DocumentTypeService {
		state := spec.ServiceWarning
		body.State = &state
	}
	_ = json.Indent(&p.out, encodeBody(body), prefix, indent) // it is our own
}

func encodeBody(body spec.Body) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		// A Body holds plain values and JSON that was read before.
		panic("restapi: write a body: " + err.Error())
	}
	return readable(text)
}

const maxMemoBytes = 64 << 20

// memo keeps what was made of documents: of thousands in a list, few have changed since it was
// read last. It gives back only what was made of the very same document.
type memo[T any] struct {
	make func(opennebula.Document) T
	// size is about how many bytes a T takes, with its document.
	size func(opennebula.Document, T) int

	mu sync.Mutex
	// made are by the document's id; when they take half of the room they become former, and
	// what nobody has wanted since they became it is forgotten.
	made, former map[int]madeOf[T]
	bytes        int
}

type madeOf[T any] struct {
	document opennebula.Document
	value    T
}

// of returns what is made of a document.
func (m *memo[T]) of(document opennebula.Document) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, found := m.made[document.ID]
	if found && same(known.document, document) {
		return known.value
	}
	if found {
		m.bytes -= m.size(known.document, known.value)
	}
	if known, found = m.former[document.ID]; !found || !same(known.document, document) {
		known = madeOf[T]{document, m.make(document)}
	}
	if m.made == nil || m.bytes > maxMemoBytes/2 {
		m.made, m.former, m.bytes = map[int]madeOf[T]{}, m.made, 0
	}
	m.made[document.ID] = known
	m.bytes += m.size(known.document, known.value)
	return known.value
}

// same reports whether nothing that is shown of two documents differs.
func same(a, b opennebula.Document) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Owner == b.Owner && a.Name == b.Name &&
		a.Permissions == b.Permissions && a.Locked == b.Locked && bytes.Equal(a.Body, b.Body)
}
