package opennebula

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/fixtures"
)

// sameAsDecoder holds the scan against the general decoder, which may refuse
// what is broken in places that nobody reads.
func sameAsDecoder(t *testing.T, text []byte) bool {
	t.Helper()
	host, vm, understood := scanVM(text)
	if !understood {
		return false
	}
	wantHost, want, err := decodeVM(text)
	if err == nil && (host != wantHost || vm != want) {
		t.Errorf("scanned %q %+v, decoded %q %+v\n%s", host, vm, wantHost, want, text)
	}
	return true
}

func TestScanReadsEveryRecordedVM(t *testing.T) {
	count := 0
	for _, line := range fixtures.Lines[struct {
		Key  string `json:"key"`
		Body string `json:"body_b64"`
	}](t, "zmq_events.jsonl") {
		if !strings.HasPrefix(line.Key, "EVENT STATE VM/") {
			continue
		}
		text, err := base64.StdEncoding.DecodeString(line.Body)
		if err != nil {
			t.Fatal(err)
		}
		count++
		if !sameAsDecoder(t, text) {
			t.Errorf("a recorded body was not understood: %s", text)
		}
	}
	if count == 0 {
		t.Error("the recording has no VM")
	}
}

const scanned = "<HOOK_MESSAGE><HOOK_TYPE>STATE</HOOK_TYPE><REMOTE_HOST>h1</REMOTE_HOST><VM><ID>7</ID>" +
	"<UNAME>ada</UNAME><NAME><![CDATA[a <b>]]></NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE>" +
	"<TEMPLATE><X><![CDATA[</VM>]]></X></TEMPLATE><USER_TEMPLATE><SERVICE_ID><![CDATA[4]]></SERVICE_ID></USER_TEMPLATE>" +
	"</VM></HOOK_MESSAGE>\n"

func TestScanLeavesTheUnusualToTheDecoder(t *testing.T) {
	if !sameAsDecoder(t, []byte(scanned)) {
		t.Fatal("an ordinary body was not understood")
	}
	changes := map[string][2]string{
		"an entity":              {"ada", "a&lt;da"},
		"a line end":             {"ada", "a\rda"},
		"invalid UTF-8":          {"ada", "a\xffda"},
		"a number with blanks":   {"<ID>7", "<ID> 7"},
		"an attribute":           {"<VM>", `<VM a="b">`},
		"an element not closed":  {"</REMOTE_HOST>", ""},
		"crossed elements":       {"</USER_TEMPLATE></VM>", "</VM></USER_TEMPLATE>"},
		"a text behind the root": {"\n", "more"},
		"a declaration":          {"<HOOK_MESSAGE>", `<?xml version="1.0"?><HOOK_MESSAGE>`},
		"a comment":              {"<VM>", "<!-- x --><VM>"},
		"two pieces of CDATA":    {"<![CDATA[4]]>", "<![CDATA[4]]><![CDATA[2]]>"},
		"an empty VM":            {"<VM>", "<VM/><VM>"},
		"deep nesting":           {"<ID>7", strings.Repeat("<A>", maxDepth) + strings.Repeat("</A>", maxDepth) + "<ID>7"},
		"a cut":                  {"</VM></HOOK_MESSAGE>\n", ""},
		"no VM":                  {"VM>", "VX>"},
	}
	for name, change := range changes {
		text := strings.ReplaceAll(scanned, change[0], change[1])
		if _, _, understood := scanVM([]byte(text)); understood {
			t.Errorf("%s was scanned: %s", name, text)
		}
	}
}

func FuzzScanAgreesWithTheDecoder(f *testing.F) {
	f.Add([]byte(scanned))
	f.Add([]byte("<A><REMOTE_HOST/><VM><ID>1</ID><USER_TEMPLATE><READY>yes</READY></USER_TEMPLATE></VM></A>"))
	f.Fuzz(func(t *testing.T, text []byte) { sameAsDecoder(t, text) })
}
