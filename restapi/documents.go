package restapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// documentView is a document as OneFlow shows it: ids are texts outside BODY.
type documentView struct {
	ID          string                 `json:"ID"`
	UID         string                 `json:"UID"`
	GID         string                 `json:"GID"`
	UName       string                 `json:"UNAME"`
	GName       string                 `json:"GNAME"`
	Name        string                 `json:"NAME"`
	Type        string                 `json:"TYPE"`
	Permissions opennebula.Permissions `json:"PERMISSIONS"`
	Template    templateView           `json:"TEMPLATE"`
}

type templateView struct {
	Body json.RawMessage `json:"BODY"`
}

// show is one document as an answer.
func (s *Server) show(status int, document opennebula.Document) (answer, error) {
	return pretty(status, textType, map[string]any{"DOCUMENT": s.view(document)})
}

// showAll is a list of documents as an answer.
func (s *Server) showAll(status int, documents []opennebula.Document) (answer, error) {
	views := make([]documentView, len(documents))
	for i, document := range documents {
		views[i] = s.view(document)
	}
	return pretty(status, textType, map[string]any{"DOCUMENT_POOL": map[string]any{"DOCUMENT": views}})
}

func (s *Server) view(document opennebula.Document) documentView {
	return documentView{
		ID: strconv.Itoa(document.ID), UID: strconv.Itoa(document.Owner.UID), GID: strconv.Itoa(document.Owner.GID),
		UName: document.Owner.UName, GName: document.Owner.GName, Name: document.Name, Type: strconv.Itoa(document.Type),
		Permissions: document.Permissions, Template: templateView{Body: s.bodyOf(document)},
	}
}

// bodyOf is a document's body, made readable. One that is not a JSON object is
// replaced by one that says so in its log: a client that lists a thousand
// services must not fail because of one.
func (s *Server) bodyOf(document opennebula.Document) json.RawMessage {
	text := bytes.ToValidUTF8(bytes.TrimSpace(document.Body), []byte("\uFFFD"))
	if len(text) > 0 && text[0] == '{' && json.Valid(text) && flow.CheckNesting(text) == nil {
		return readable(text)
	}
	return unreadable(document, s.now())
}

func unreadable(document opennebula.Document, now time.Time) json.RawMessage {
	body := flow.Body{
		Name: document.Name, Roles: []flow.Role{},
		Log: []flow.LogEntry{{
			Timestamp: now.Unix(), Severity: "E",
			Message: fmt.Sprintf("the body of document %d in OpenNebula cannot be read as JSON; mend it with onedb or delete the document", document.ID),
		}},
	}
	if document.Type == flow.DocumentTypeService {
		state := flow.ServiceWarning
		body.State = &state
	}
	return encodeBody(body)
}

// encodeBody writes a body as it is kept in oned.
func encodeBody(body flow.Body) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		// A Body holds plain values and JSON that was read before.
		panic("restapi: write a body: " + err.Error())
	}
	return readable(text)
}
