package onexml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// element is an element with its own text and the elements inside.
type element struct {
	Name, Text string
	Inside     []element
}

// read reads a document by a Reader.
func read(text []byte) (element, error) {
	r := New(text)
	root := element{Name: string(r.Root())}
	root.read(r)
	return root, r.Err()
}

func (e *element) read(r *Reader) {
	e.Text = r.Content(func(name []byte) {
		child := element{Name: string(name)}
		child.read(r)
		e.Inside = append(e.Inside, child)
	})
}

// decode reads a document by encoding/xml.
func decode(text []byte) (element, error) {
	decoder := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := decoder.Token()
		if err != nil {
			return element{}, err
		}
		if start, is := token.(xml.StartElement); is {
			root := element{Name: start.Name.Local}
			return root, root.decode(decoder)
		}
	}
}

func (e *element) decode(decoder *xml.Decoder) error {
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		switch found := token.(type) {
		case xml.StartElement:
			child := element{Name: found.Name.Local}
			if err := child.decode(decoder); err != nil {
				return err
			}
			e.Inside = append(e.Inside, child)
		case xml.CharData:
			e.Text += string(found)
		case xml.EndElement:
			return nil
		}
	}
}

// sameAsDecoder reports whether encoding/xml reads the text, and fails the test if
// a Reader reads it in another way.
func sameAsDecoder(t *testing.T, text []byte) bool {
	t.Helper()
	want, err := decode(text)
	if err != nil || hasNamespaces(text) {
		return false
	}
	got, err := read(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q: %+v (%v), want %+v", text, got, err, want)
	}
	checkShortcuts(t, text, want)
	return true
}

// checkShortcuts reads the elements of the root by each way of skipping and of
// taking text.
func checkShortcuts(t *testing.T, text []byte, want element) {
	t.Helper()
	for _, way := range []func(r *Reader) string{
		func(r *Reader) string { return r.String() },
		func(r *Reader) string { return string(Clean(r.AppendText(nil))) },
		func(r *Reader) string { return rootText(r.Element()) },
		func(r *Reader) string { return rootText([]byte("<a>" + string(r.Inner()) + "</a>")) },
	} {
		r := New(text)
		r.Root()
		var texts, wanted []string
		r.Each(func([]byte) { texts = append(texts, way(r)) })
		for _, child := range want.Inside {
			wanted = append(wanted, child.Text)
		}
		if !reflect.DeepEqual(texts, wanted) || r.Err() != nil {
			t.Errorf("%q: texts %q (%v), want %q", text, texts, r.Err(), wanted)
		}
	}
}

func rootText(text []byte) string {
	r := New(text)
	r.Root()
	return r.String()
}

// hasNamespaces is for what differs by intent: names keep their prefix.
// A declaration's brackets are not looked into, and comments are none of oned's.
func hasNamespaces(text []byte) bool {
	return bytes.ContainsAny(text, ":") || bytes.Contains(bytes.ReplaceAll(text, []byte(openCDATA), nil), []byte("<!")) || bytes.Contains(text, []byte("<?"))
}

var samples = []string{
	"<A/>", "<A></A>", "<A>x</A>", " <A> x <B/> y </A > ", "<A><![CDATA[<B>&amp;]]></A>", "<A><![CDATA[a]]>b<![CDATA[c]]></A>",
	"<A>&lt;B&gt; &amp;amp; &#65;&#x41;&quot;&apos;</A>", "<A>a\r\nb\rc&#13;</A>", "<A><![CDATA[a\r\nb]]></A>",
	"<A><B><B>1</B></B><B>2</B></A>", "<A><T><![CDATA[</T>]]></T><T><TT>3</TT></T></A>", "<A><B C='1' D=\"a>b\">x</B><E F='/'/></A>",
	"<A>\u00e9\u4e2d<B>\U0001f600</B></A>", "<A_1.2-3>x</A_1.2-3>", "<A>a]b]]c></A>", "<A><T>]<U>]></U></T></A>",
}

func TestReaderAgreesWithTheDecoder(t *testing.T) {
	for _, text := range samples {
		if !sameAsDecoder(t, []byte(text)) {
			t.Errorf("encoding/xml does not read %q", text)
		}
	}
}

func FuzzReaderAgreesWithTheDecoder(f *testing.F) {
	for _, text := range samples {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { sameAsDecoder(t, text) })
}

func TestMalformed(t *testing.T) {
	for _, text := range []string{
		"", "x", "<", "<>", "<A", "<A>", "<A><B></A>", "<A></B>", "<A><B></A></B>", "</A>", "<A>]]></A>", "<A><![CDATA[x</A>", "<A><!-- </A>",
		"<A><1/></A>", "< A/>", "<A><B></A>", "<A B='></A>", "<A>a<b</A>", strings.Repeat("<A>", maxDepth+1) + strings.Repeat("</A>", maxDepth+1),
	} {
		if root, err := read([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.40q was read as %.80v (%v)", text, root, err)
		}
	}
}

func TestWhatIsNoXML(t *testing.T) {
	for text, want := range map[string]string{
		"a & b &foo; &#xZ; &;":      "a & b &foo; &#xZ; &;",
		"&#1;\x01\xff":              "\ufffd\ufffd\ufffd",
		"<![CDATA[\x02&#1;&foo;]]>": "\ufffd&#1;&foo;",
		"<!-- x -->y<?z?>":          "y",
	} {
		if got := rootText([]byte("<A>" + text + "</A>")); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestPartsAreReadOnce(t *testing.T) {
	r := New([]byte("<A><ID> 7 </ID><X><Y>1</Y><Y>2</Y></X><X><Y/></X><N>x</N><ID>8</ID></A>"))
	if root := string(r.Root()); root != "A" {
		t.Errorf("the root is %q", root)
	}
	var ids, ys []int
	r.Each(func(name []byte) {
		switch string(name) {
		case "ID":
			ids = append(ids, r.Int())
		case "X":
			r.At(func() { ys = append(ys, r.Int()) }, "Y")
		}
	})
	if !reflect.DeepEqual(ids, []int{7, 8}) || !reflect.DeepEqual(ys, []int{1, 2, 0}) || r.Err() != nil {
		t.Errorf("%v %v %v", ids, ys, r.Err())
	}
	r = New([]byte("<A><ID>x</ID></A>"))
	r.Root()
	r.At(func() { r.Int() }, "ID")
	if r.Err() == nil {
		t.Error("x is a number")
	}
}

func FuzzClean(f *testing.F) {
	long := strings.Repeat("<ID>7</ID>\r\n", 20)
	for _, text := range []string{"", "plain", "\x00\x01\xff", "\u00e9\ufffe\uffff\ufffd", long, long + "\x01", long + "\xff" + long, "\u00fc" + long, "\x7f" + long + "\ufffe"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cleaned := Clean(text)
		if !IsClean(cleaned) || !utf8.Valid(cleaned) || IsClean(text) != bytes.Equal(cleaned, text) {
			t.Fatalf("%q became %q", text, cleaned)
		}
	})
}
