package sim

import (
	"bytes"
	"strconv"
	"strings"
)

// objectEscaper escapes what stands between tags in an object's XML.
var objectEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// element writes <name>text</name>.
func element(b *bytes.Buffer, name, text string) {
	open(b, name)
	_, _ = objectEscaper.WriteString(b, text)
	shut(b, name)
}

// number writes <name>n</name>.
func number(b *bytes.Buffer, name string, n int) {
	open(b, name)
	b.WriteString(strconv.Itoa(n))
	shut(b, name)
}

// moment writes <name>unix seconds</name>.
func moment(b *bytes.Buffer, name string, seconds int64) { number(b, name, int(seconds)) }

// cdata writes <name><![CDATA[text]]></name>. A "]]>" in the text is split
// over two sections: one document must not make a whole pool unreadable.
func cdata(b *bytes.Buffer, name, text string) {
	open(b, name)
	b.WriteString("<![CDATA[")
	if strings.Contains(text, "]]>") {
		text = strings.ReplaceAll(text, "]]>", "]]]]><![CDATA[>")
	}
	b.WriteString(text)
	b.WriteString("]]>")
	shut(b, name)
}

// optional writes <name/> where oned has nothing to say, else the number.
func optional(b *bytes.Buffer, name string, n int) {
	if n < 0 {
		b.WriteString("<" + name + "/>")
		return
	}
	number(b, name, n)
}

// identifiers writes <name><ID>1</ID>...</name>.
func identifiers(b *bytes.Buffer, name string, ids []int) {
	open(b, name)
	for _, id := range ids {
		number(b, "ID", id)
	}
	shut(b, name)
}

func open(b *bytes.Buffer, name string) {
	b.WriteByte('<')
	b.WriteString(name)
	b.WriteByte('>')
}

func shut(b *bytes.Buffer, name string) {
	b.WriteString("</")
	b.WriteString(name)
	b.WriteByte('>')
}
