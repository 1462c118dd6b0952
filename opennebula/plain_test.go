package opennebula

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/kolo/xmlrpc"

	"github.com/flowjet/flowjet/internal/fixtures"
)

// slowDocuments reads a pool by encoding/xml alone.
func slowDocuments(text []byte) ([]Document, error) {
	var pool struct {
		Documents []documentXML `xml:"DOCUMENT"`
	}
	err := unmarshal(text, &pool)
	documents := []Document{}
	for _, found := range pool.Documents {
		documents = append(documents, found.document())
	}
	return documents, err
}

// sameDocuments tells no difference between an empty body and none.
func sameDocuments(a, b []Document) bool {
	for _, documents := range [][]Document{a, b} {
		for i := range documents {
			documents[i].Body = append([]byte{}, documents[i].Body...)
		}
	}
	return reflect.DeepEqual(a, b)
}

const plainPool = "<DOCUMENT_POOL><DOCUMENT><ID>7</ID><UID>2</UID><GID>1</GID><UNAME>a&amp;b</UNAME><GNAME>users</GNAME><NAME><![CDATA[x<y]]></NAME>" +
	"<TYPE>100</TYPE><PERMISSIONS><OWNER_U>1</OWNER_U><OTHER_A>1</OTHER_A></PERMISSIONS><LOCK><LOCKED>1</LOCKED></LOCK><TEMPLATE><OTHER/>" +
	"<BODY><![CDATA[{\"a\":\"<\"}]]> &#65;</BODY></TEMPLATE></DOCUMENT>\n<DOCUMENT><ID>8</ID></DOCUMENT></DOCUMENT_POOL>"

func TestPlainDocumentsAreReadAsByTheDecoder(t *testing.T) {
	for _, text := range []string{plainPool, "<DOCUMENT_POOL/>", "<DOCUMENT_POOL></DOCUMENT_POOL>"} {
		plain, ok := plainDocuments([]byte(text))
		slow, err := slowDocuments([]byte(text))
		if !ok || err != nil || !sameDocuments(plain, slow) {
			t.Errorf("%s: %v %+v, expected %+v (%v)", text, ok, plain, slow, err)
		}
	}
	for _, odd := range []string{
		"", "x", "<DOCUMENT_POOL>", "<DOCUMENT_POOL a='b'></DOCUMENT_POOL>", "<DOCUMENT_POOL><!-- --></DOCUMENT_POOL>", "<DOCUMENT_POOL>x</DOCUMENT_POOL>",
		"<DOCUMENT_POOL><DOCUMENT><ID>x</ID></DOCUMENT></DOCUMENT_POOL>", "<DOCUMENT_POOL><DOCUMENT><NAME>a]]>b</NAME></DOCUMENT></DOCUMENT_POOL>",
		"<DOCUMENT_POOL><DOCUMENT><NAME>&foo;</NAME></DOCUMENT></DOCUMENT_POOL>", "<DOCUMENT_POOL><DOCUMENT><NAME>a\rb</NAME></DOCUMENT></DOCUMENT_POOL>",
		"<DOCUMENT_POOL><DOCUMENT><X><Y></X></Y></DOCUMENT></DOCUMENT_POOL>",
		"<DOCUMENT_POOL>" + strings.Repeat("<A>", 2*maxPlainDepth) + strings.Repeat("</A>", 2*maxPlainDepth) + "</DOCUMENT_POOL>",
	} {
		if documents, ok := plainDocuments([]byte(odd)); ok {
			t.Errorf("%.80q was read as %+v", odd, documents)
		}
	}
}

// TestPlainAnswersAreReadAsByTheDecoder holds the fast way against the other
// with every recorded answer.
func TestPlainAnswersAreReadAsByTheDecoder(t *testing.T) {
	plain, ids := 0, 0
	for i, call := range fixtures.Lines[struct{ Method, Response string }](t, "xmlrpc.jsonl") {
		answer := cleanXML([]byte(call.Response))
		var elements []any
		if err := xmlrpc.Response(answer).Unmarshal(&elements); err != nil {
			t.Fatal(err)
		}
		if id, ok := answerID(answer); ok && (elements[0] != true || elements[1] != any(id)) {
			t.Errorf("line %d, %s: %d, expected %v", i+1, call.Method, id, elements)
		} else if ok {
			ids++
		}
		text, ok := answerText(nil, answer)
		if !ok {
			continue
		}
		fast := string(text)
		if elements[0] != true || elements[1] != any(fast) && fast != "" {
			t.Errorf("line %d, %s: not what the decoder reads", i+1, call.Method)
		}
		if plain++; !strings.HasPrefix(fast, "<DOCUMENT") {
			continue
		}
		documents, ok := plainDocuments(cleanXML([]byte("<DOCUMENT_POOL>" + strings.TrimSuffix(strings.TrimPrefix(fast, "<DOCUMENT_POOL>"), "</DOCUMENT_POOL>") + "</DOCUMENT_POOL>")))
		if !ok || len(documents) == 0 || len(documents[0].Body) == 0 && documents[0].Type == 100 {
			t.Errorf("line %d, %s: %v %+v", i+1, call.Method, ok, documents)
		}
	}
	if plain < 20 || ids < 20 {
		t.Errorf("%d texts and %d ids were read the fast way", plain, ids)
	}
}

func FuzzQuickClean(f *testing.F) {
	long := strings.Repeat("<ID>7</ID>\r\n", 20)
	for _, text := range []string{long, long + "\x01", long + "\xff" + long, "ü" + long, long + "&#1;", long + "&#65;" + long, "\x7f" + long + "\ufffe"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if clean(text) != allClean(text) {
			t.Fatalf("%q: %t", text, clean(text))
		}
	})
}

func FuzzPlainDocuments(f *testing.F) {
	f.Add(plainPool)
	f.Add("<DOCUMENT_POOL><DOCUMENT><A><B>x</B></A><ID> 3 </ID></DOCUMENT></DOCUMENT_POOL>")
	f.Fuzz(func(t *testing.T, text string) {
		cleaned := cleanXML([]byte(text))
		plain, ok := plainDocuments(cleaned)
		if !ok {
			return
		}
		if slow, err := slowDocuments(cleaned); err != nil || !sameDocuments(plain, slow) {
			t.Fatalf("%q: %+v, expected %+v (%v)", text, plain, slow, err)
		}
	})
}

// fuzzAnswer has read what a way of our own reads in the value of an accepted answer,
// and holds it against what kolo/xmlrpc reads.
func fuzzAnswer(f *testing.F, kind string, read func(answer []byte) (any, bool)) {
	for _, value := range []string{"", "a &lt;b&gt; &amp;amp; &#10;", "&foo;", "x\ry", "<i4>1</i4>", "7", "-1", "+1", " 8", "9223372036854775808"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		answer := cleanXML([]byte(envelope("<boolean>1</boolean>", "<"+kind+">"+value+"</"+kind+">", "<i4>0</i4>")))
		fast, ok := read(answer)
		if !ok {
			return
		}
		var elements []any
		if err := xmlrpc.Response(answer).Unmarshal(&elements); err == nil && elements[1] != fast && (elements[1] != nil || fast != "") {
			t.Fatalf("%q: %q, expected %q", value, fast, elements[1])
		}
	})
}

func FuzzAnswerText(f *testing.F) {
	fuzzAnswer(f, "string", func(answer []byte) (any, bool) {
		text, ok := answerText(nil, answer)
		return string(text), ok
	})
}

func FuzzAnswerID(f *testing.F) {
	fuzzAnswer(f, "i4", func(answer []byte) (any, bool) { return answerID(answer) })
}

// BenchmarkReadPool reads a pool of 1,000 services, by plainXML and, as the
// floor, by encoding/xml.
func BenchmarkReadPool(b *testing.B) {
	body, err := json.Marshal(map[string]any{"name": "pool", "roles": []string{strings.Repeat("x", 400)}})
	if err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("<DOCUMENT_POOL>")
	for id := range 1000 {
		fmt.Fprintf(&text, "<DOCUMENT><ID>%d</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>pool</NAME><TYPE>100</TYPE>%s</DOCUMENT>", id, templateText("", body))
	}
	text.WriteString("</DOCUMENT_POOL>")
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			if documents, ok := plainDocuments([]byte(text.String())); !ok || len(documents) != 1000 {
				b.Fatal("not read")
			}
		}
	})
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			if documents, err := slowDocuments([]byte(text.String())); err != nil || len(documents) != 1000 {
				b.Fatal(err)
			}
		}
	})
}
