package restapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/opennebula"
)

// etagOf is a document's, with everything that is shown of it.
func etagOf(document opennebula.Document) string {
	text, err := json.Marshal(document)
	if err != nil {
		return "" // plain values: it does not happen
	}
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// unchanged holds a changing request's If-Match against the document as it is
// now: 412 if it has changed. A change between this look and the worker's turn
// is not seen; the worker then decides by the state it finds.
func (r *request) unchanged(document opennebula.Document) error {
	wanted := r.Header.Values("If-Match")
	if len(wanted) == 0 || r.Method == http.MethodGet || matches(wanted, etagOf(document)) {
		return nil
	}
	return &statusError{http.StatusPreconditionFailed, fmt.Sprintf("%s %d has changed since it was read (its ETag is %s now): read it again and decide again",
		kindNames[document.Type], document.ID, etagOf(document))}
}

// matches says that a list of entity tags names this one, or any.
func matches(headers []string, etag string) bool {
	for _, header := range headers {
		tags := strings.Split(header, ",")
		if slices.ContainsFunc(tags, func(tag string) bool {
			tag = strings.TrimSpace(tag)
			return tag == "*" || tag == etag
		}) {
			return true
		}
	}
	return false
}

// showRead is a document as the answer to a read, or 304 for who has it.
func (s *Server) showRead(r *request, document opennebula.Document) (answer, error) {
	etag := etagOf(document)
	if given := r.Header.Values("If-None-Match"); len(given) > 0 && matches(given, etag) {
		return answer{status: http.StatusNotModified, etag: etag}, nil
	}
	reply, err := s.show(http.StatusOK, document)
	reply.etag = etag
	return reply, err
}
