package template

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

func written(t Template) string {
	return strings.NewReplacer("<![CDATA[", "", "]]>", "", "<T>", "", "</T>", "").Replace(xmlrpc.Text("T", t.WriteContent))
}

func TestTemplateForms(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"A = b":                               "<A>b</A>",
		"b=2\nA = \"x y\" \n":                 "<A>x y</A><B>2</B>",
		"READY=YES\n":                         "<READY>YES</READY>",
		"A = \"say \\\"hi\\\" \\n\"":          `<A>say "hi" \n</A>`,
		"A = \"two\nlines\"":                  "<A>two\nlines</A>",
		"# a comment\nA = 1 # 3\n":            "<A>1</A>",
		"A = \"x\\\"y\"\nB = \"z\"":           "<A>x\"y</A><B>z</B>",
		"2ND_DNS = \"1\"\n-b = 2":             "<B>2</B><ONE_2ND_DNS>1</ONE_2ND_DNS>",
		"N = [ X = 1, X = 2 ]":                "<N><X>1</X></N>",
		"N = [ X = \"y\", Z=w ]\nN=[Z=1]":     "<N><X>y</X><Z>w</Z></N><N><Z>1</Z></N>",
		"N = [\n  Z = \"]\",\n  A = \"b\"\n]": "<N><A>b</A><Z>]</Z></N>",
		"N = []":                              "<N></N>",
		"<TEMPLATE><B>2</B><N><X><![CDATA[<y>]]></X></N></TEMPLATE>": "<B>2</B><N><X><y></X></N>",
		"<VM/>": "",
	} {
		parsed, err := Parse(text)
		if err != nil || written(parsed) != want {
			t.Errorf("%q became %q (%v), not %q", text, written(parsed), err, want)
		}
	}
}

func TestUnreadableTemplates(t *testing.T) {
	for _, text := range []string{
		"A", "= b", "N = [ X = 1", "N = [ = 1 ]", "A = 1 2", "<A><B>", "<A></B>", "<A><B><C><D>1</D></C></B></A>",
		"<A>" + strings.Repeat("<B/>", maxAttributes+1) + "</A>", strings.Repeat("A=1\n", maxAttributes+1),
	} {
		if parsed, err := Parse(text); err == nil {
			t.Errorf("%.60q became %q", text, written(parsed))
		}
	}
}

// TestTemplateErrorsAreOneds has the texts that oned 7.4 gave.
func TestTemplateErrorsAreOneds(t *testing.T) {
	for text, want := range map[string]string{
		"CONTEXT=[A B=\"1\"]":         "Parse error: syntax error, unexpected VARIABLE, expecting EQUAL at line 0, columns 12:13",
		"AR=[TYPE=IP4,IP":             "Parse error: syntax error, unexpected $end, expecting EQUAL at line 0, columns 14:16",
		"A B = 1":                     "Parse error: syntax error, unexpected VARIABLE, expecting EQUAL or EQUAL_EMPTY at line 0, columns 3:4",
		"A = \"x]]>y\"":               "Parse error.",
		"<TEMPLATE><A>1</TEMPLATE>":   "Parse error: XML Template malformed.",
		"A = 1\n= 2":                  "Parse error: syntax error, unexpected EQUAL, expecting $end at line 1, columns 7:9",
		"A = [ X = \"1\"\n Y = 2 ]\n": "Parse error: syntax error, unexpected VARIABLE, expecting COMMA or CBRACKET at line 1, columns 16:17",
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, not %s", text, err, want)
		}
	}
}

func TestMergeReplacesAllOfAName(t *testing.T) {
	old := Of("A", "1", "B", "1", "B", "2")
	if got := written(old.Merged(Of("B", "3", "C", "4"))); got != "<A>1</A><B>3</B><C>4</C>" {
		t.Errorf("merged to %s", got)
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("A = \"b\"\nN = [ X = 1 ]")
	f.Add("<T><A>1</A></T>")
	f.Fuzz(func(t *testing.T, text string) {
		if parsed, err := Parse(text); err == nil && len(parsed) > maxAttributes {
			t.Errorf("%d attributes were read", len(parsed))
		}
	})
}
