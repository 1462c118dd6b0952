package one

import (
	"strings"
	"testing"
	"time"
)

// As oned 7.4.0 answered one.vntemplate.instantiate with these texts.
func TestCheckTemplateIsOneds(t *testing.T) {
	for text, expected := range map[string]string{
		"":      "",
		"A=b":   "",
		"A=":    "", // with the line end that a reservation's has
		"A=x#y": "",
		"AR=[AR_ID=0],SECURITY_GROUPS=\"0\",size=2": "", // as Sunstone's form writes it
		"#c":                               "",
		"A==x":                             "",
		`A=b"c`:                            "",
		"A={x}":                            "",
		"A=a:b;c":                          "",
		"A=ä":                              "",
		"A='x'":                            "",
		"1A=x":                             "",
		"A=[]":                             "",
		"A=\nB=1":                          "",
		"A=\nB=[\nC=1 ]\nD=":               "",
		"# a comment, with = and [\nA=1\n": "",
		`A="1" B="2"`:                      "",
		`A=[B="1"] C=2`:                    "",
		"A = \"1\"\n\n\nB = 2 \n":          "",
		"AR = [ TYPE = IP4 ,\n IP=\"10.0.0.1\", SIZE=4 ]\nA=\"b \\\"c, d=\\\" \n e\"": "",

		"A=b c":            "line 1: = or",
		"A=\"1\"\nB=b c":   "line 2: = or",
		"A=[B=1,,C=2]":     "KEY = value",
		"A=[B=1,]":         "KEY = value",
		"A=[B=1 C=2]":      ", or ]",
		"A=[B=]":           "a value",
		"A=[B=\n,C=1]":     "= was",
		"a-b=x":            "= or",
		"A=x]":             "NAME = value",
		"A=x=y":            "NAME = value",
		"A=[B=x=y]":        ", or ]",
		"A=a\tb":           "= or",
		"Ä=1":              "NAME = value",
		"A=[B=1":           "a closing ]",
		"A=[B=[C=1]]":      "NAME = value",
		"A=x]]>":           `contains "]]>"`,
		"A=\"x\x00\"":      "a control character",
		"A=\"\U0001F600\"": "an emoji",
	} {
		err := CheckTemplate(text)
		if expected == "" && err != nil || expected != "" && (err == nil || !strings.Contains(err.Error(), expected)) {
			t.Errorf("%q: want %q, got %v", text, expected, err)
		}
	}
}

func TestCommasBetweenAttributesBecomeLineEnds(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"AR=[AR_ID=0,SIZE=2],SECURITY_GROUPS=\"0\",size=2": "AR=[AR_ID=0,SIZE=2]\nSECURITY_GROUPS=\"0\"\nsize=2",
		"SIZE=1, NAME=x":                  "SIZE=1\n NAME=x",
		"SIZE=1 \n,\n, NAME=x,":           "SIZE=1 \n\n\n\n NAME=x\n",
		"A=\"a, b\", # a, b\nB=\"\\\",\"": "A=\"a, b\"\n # a, b\nB=\"\\\",\"",
		"A=[B=1,,C=2],D=3":                "A=[B=1,,C=2],D=3", // oned refuses it anyway
	} {
		if got := WithoutCommas(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestNamesOfAttributesAreThoseThatOnedReads(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "NAME=x": true, "SIZE=1\nname = \"x\"": true, "-NAME=x": true, "A='x\nNAME=y": true, "SIZE=1,NAME=x": true,
		"NAMES=x": false, "A=[NAME=x]": false, "A=\"\nNAME=x\"": false, "#NAME=x": false, "NAME=x #": true, "A=NAME": false,
	} {
		if _, got := LastValue(text, "NAME"); got != want {
			t.Errorf("%q has a NAME: %t, want %t", text, got, want)
		}
	}
}

func TestLastValueIsOneds(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\na = 2\nB=3": "2", `A="x \"y\" \z\" # " B=3`: `x "y" \z" # `, "A=[B=1]": "", "A=": "", "A=x#y": "x", "A='x'": "'x'", `A=b"c"`: `b"c"`,
		"A=1\nA=2 x\nA=3": "2", "A=\"\"": "", "B=[A=1]\n-A=2": "2", "A=1\n#": "1", "A=1\n  # A=2": "1",
	} {
		if got, found := LastValue(text, "A"); !found || got != want {
			t.Errorf("%q: A is %q, %t, want %q", text, got, found, want)
		}
	}
	for _, text := range []string{"", "A", "A\n", "A=[", "A=[B=1", "A==", "#", "# A=1", "#\n#A=1", "B=A"} {
		if got, found := LastValue(text, "A"); found {
			t.Errorf("%q: A is %q", text, got)
		}
	}
}

func TestCheckTemplateTakesLinearTime(t *testing.T) {
	const size = 1 << 20
	for _, text := range []string{
		"A=" + strings.Repeat("=", size), "A==" + strings.Repeat(" ", size), strings.Repeat("#", size), "A=1 " + strings.Repeat("#", size), "A=\"" + strings.Repeat(`\"`, size/2),
		"A=[" + strings.Repeat(" \n", size/2), "A=1" + strings.Repeat("\n#", size/2), "A=" + strings.Repeat("\"\"", size/2), "A=1\n" + strings.Repeat("-", size) + "\n", "A=" + strings.Repeat("= ", size/2),
	} {
		start := time.Now()
		_, _ = CheckTemplate(text), WithoutCommas(text)
		_, _ = LastValue(text, "NAME")
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%.20q...: took %v", text, took)
		}
	}
}
