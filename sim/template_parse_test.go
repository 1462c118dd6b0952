package sim

import (
	"reflect"
	"strings"
	"testing"
)

func written(t template) string {
	return strings.NewReplacer("<![CDATA[", "", "]]>", "").Replace(xmlText(t.writeContent))
}

func TestTemplateForms(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"A = b":                               "<A>b</A>",
		"b=2\nA = \"x y\" \n":                 "<A>x y</A><B>2</B>",
		"READY=YES\n":                         "<READY>YES</READY>",
		"A = \"say \\\"hi\\\" \\n\"":          `<A>say "hi" \n</A>`,
		"A = \"two\nlines\"":                  "<A>two\nlines</A>",
		"# a comment\nA = 1 2 # 3\n":          "<A>1 2 # 3</A>",
		"N = [ X = \"y\", Z=w ]\nN=[Z=1]":     "<N><X>y</X><Z>w</Z></N><N><Z>1</Z></N>",
		"N = [\n  Z = \"]\",\n  A = \"b\"\n]": "<N><A>b</A><Z>]</Z></N>",
		"N = []":                              "<N></N>",
		"<TEMPLATE><B>2</B><N><X><![CDATA[<y>]]></X></N></TEMPLATE>": "<B>2</B><N><X><y></X></N>",
		"<VM/>": "",
	} {
		parsed, err := parseTemplate(text)
		if err != nil || written(parsed) != want {
			t.Errorf("%q became %q (%v), not %q", text, written(parsed), err, want)
		}
	}
}

func TestUnreadableTemplates(t *testing.T) {
	for _, text := range []string{
		"A", "= b", "A = \"b", "N = [ X = 1", "N = [ = 1 ]", "{}", "<A><B>", "<A></B>", "<A><B><C><D>1</D></C></B></A>",
		"<A>" + strings.Repeat("<B/>", maxAttributes+1) + "</A>", strings.Repeat("A=1\n", maxAttributes+1),
		strings.Repeat("A", maxNameLength+1) + " = 1",
	} {
		if parsed, err := parseTemplate(text); err == nil {
			t.Errorf("%.60q became %q", text, written(parsed))
		}
	}
}

func TestMergeReplacesAllOfAName(t *testing.T) {
	old := template{single("A", "1"), single("B", "1"), single("B", "2")}
	if got := written(old.merged(template{single("B", "3"), single("C", "4")})); got != "<A>1</A><B>3</B><C>4</C>" {
		t.Errorf("merged to %s", got)
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("A = \"b\"\nN = [ X = 1 ]")
	f.Add("<T><A>1</A></T>")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = parseTemplate(text)
		plain, ok := plainTemplate(text)
		if !ok {
			return
		}
		sortAttributes(plain)
		if slow, err := parseXMLTemplate(text); err != nil || !reflect.DeepEqual(plain, slow) {
			t.Errorf("%q is %+v, and not %+v (%v)", text, plain, slow, err)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("<methodCall><methodName>m</methodName><params><param><value><i4>1</i4></value></param></params></methodCall>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _, _ = decodeRequest(body)
		if plain, ok := plainRequest(body); ok {
			sameRequest(t, body, plain)
		}
	})
}
