package xmlrpc

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAnswersAreEscapedOnceMore: an object's XML stands in an answer as oned's XML-RPC
// library escapes it, whatever the texts.
func TestAnswersAreEscapedOnceMore(t *testing.T) {
	wire := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#x0d;")
	text := rapid.StringOf(rapid.SampledFrom([]rune("ab&<>]\"'\r\n\tä☃")))
	rapid.Check(t, func(t *rapid.T) {
		name, value := text.Draw(t, "element"), text.Draw(t, "CDATA")
		n := rapid.IntRange(-1, 5).Draw(t, "number")
		write := func(w *Writer) {
			w.Fields("NAME", name, "A", CDATA(value), "PARENT", Optional(n), "N", n, "LONG", int64(n), "YES", n > 0, "IDS", []int{n})
			w.WriteString("<REMOTE_HOST/>")
		}
		plain := Text("VM", write)
		w := NewAnswer(true, plain)
		defer w.Release()
		if !strings.Contains(w.String(), "<value><string>"+wire.Replace(plain)+"</string></value>\r\n") {
			t.Errorf("%s\nstands in an answer as\n%s", plain, w.Bytes())
		}
	})
}
