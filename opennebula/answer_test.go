package opennebula

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// bodyOf is the body of a document, other than any other's in all of its bytes.
func bodyOf(id int) string {
	size := 200 + 37*id
	if id%50 == 49 {
		size = 1 << 20
	}
	return strings.Repeat(string(rune('a'+id%26)), size) + strconv.Itoa(id)
}

// documentOf is a document's XML. In some is what only the general decoders read, or
// what has to be cleaned first.
func documentOf(id int) string {
	odd := []string{"", "<!-- -->", "\r", "\x01", "<A B='1'/>"}[id%5]
	return fmt.Sprintf("<DOCUMENT>%s<ID>%d</ID><TYPE>100</TYPE><TEMPLATE><BODY><![CDATA[%s]]></BODY></TEMPLATE></DOCUMENT>", odd, id, bodyOf(id))
}

// Many calls at the same time each read their own answer.
func TestAnswersOfConcurrentCalls(t *testing.T) {
	firstNumber := regexp.MustCompile(`<int>(\d+)</int>`)
	oned := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var text strings.Builder
		if err := r.Write(&text); err != nil {
			t.Error(err)
		}
		id, err := strconv.Atoi(firstNumber.FindStringSubmatch(text.String())[1])
		switch {
		case err != nil:
			t.Error(err)
		case id%7 == 6:
			fmt.Fprint(w, envelope("<boolean>0</boolean>", fmt.Sprintf("<string>none has %d</string>", id), "<i4>1024</i4>"))
		default:
			fmt.Fprint(w, envelope("<boolean>1</boolean>", "<string>"+escapeXML(documentOf(id))+"</string>", "<i4>0</i4>"))
		}
	}))
	defer oned.Close()
	session := newTestClient(t, oned.URL).Server()
	read := make([]Document, 120)
	refused := make([]error, len(read))
	var all sync.WaitGroup
	for id := range read {
		all.Go(func() { read[id], refused[id] = session.Document(t.Context(), id) })
	}
	all.Wait()
	for id, document := range read {
		switch err := refused[id]; {
		case id%7 == 6:
			if !IsCode(err, CodeNoExists) || !strings.Contains(err.Error(), fmt.Sprintf("none has %d ", id)) {
				t.Errorf("document %d: %v", id, err)
			}
		case err != nil || document.ID != id || string(document.Body) != bodyOf(id):
			t.Errorf("document %d was read as %d with %.40q (%v)", id, document.ID, document.Body, err)
		}
	}
}
