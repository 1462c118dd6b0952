package sim

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
		write := func(b *xmlWriter) {
			open(b, "VM")
			element(b, "NAME", name)
			template{single("A", value), vector("V", single("X", value))}.write(b, "TEMPLATE")
			optional(b, "PARENT", n)
			identifiers(b, "IDS", []int{n})
			markup(b, "<REMOTE_HOST/>")
			shut(b, "VM")
		}
		b := newXML(wireForm)
		defer b.release()
		write(b)
		if plain := xmlText(write); b.String() != wire.Replace(plain) {
			t.Errorf("%s\nstands in an answer as\n%s", plain, b.Bytes())
		}
	})
}
