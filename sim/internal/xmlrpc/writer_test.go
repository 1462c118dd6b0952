package xmlrpc

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestWireFormIsEscapedOnceMore: XML that is written for an answer is the plain
// XML as oned's XML-RPC library escapes it, whatever the texts.
func TestWireFormIsEscapedOnceMore(t *testing.T) {
	wire := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#x0d;")
	text := rapid.StringOf(rapid.SampledFrom([]rune("ab&<>]\"'\r\n\tä☃")))
	rapid.Check(t, func(t *rapid.T) {
		name, value := text.Draw(t, "element"), text.Draw(t, "CDATA")
		n := rapid.IntRange(-1, 5).Draw(t, "number")
		write := func(w *Writer) {
			w.Fields("NAME", name, "A", CDATA(value), "PARENT", Optional(n), "N", n, "LONG", int64(n), "YES", n > 0, "IDS", []int{n})
			w.Markup("<REMOTE_HOST/>")
		}
		w := newWriter(wireForm)
		defer w.Release()
		w.Within("VM", write)
		if plain := Text("VM", write); w.String() != wire.Replace(plain) {
			t.Errorf("%s\nstands in an answer as\n%s", plain, w.Bytes())
		}
	})
}
