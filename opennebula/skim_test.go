package opennebula

import (
	"bytes"
	"encoding/xml"
	"reflect"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/fixtures"
)

func TestSkim(t *testing.T) {
	texts := map[string]string{
		"":     "",
		"text": "text",
		"<VM><ID>1</ID><TEMPLATE><A>x</A><B/></TEMPLATE><S>2</S></VM>":                                "<VM><ID>1</ID><S>2</S></VM>",
		"<VM><TEMPLATE/><S>2</S></VM>":                                                                "<VM><TEMPLATE/><S>2</S></VM>",
		"<VM><TEMPLATE><A><![CDATA[</TEMPLATE><VM>]]></A></TEMPLATE></VM>":                            "<VM></VM>",
		"<VM><U><![CDATA[<TEMPLATE>]]></U><TEMPLATE></TEMPLATE></VM>":                                 "<VM><U><![CDATA[<TEMPLATE>]]></U></VM>",
		"<VM><TEMPLATE><TEMPLATE>x</TEMPLATE></TEMPLATE><X/></VM>":                                    "<VM><X/></VM>",
		"<VM><TEMPLATE><A><![CDATA[</TEMPLATE>]]></A></TEMPLATE><TEMPLATE><B>]]></B></TEMPLATE></VM>": "<VM></VM>",
		"<VM><TEMPLATE><TEMPLATE_ID>3</TEMPLATE_ID><TEMPLATE/></TEMPLATE><X/></VM>":                   "<VM><X/></VM>",
		"<VM><TEMPLATE><A><![CDATA[<![CDATA[ ]]></A></TEMPLATE><X/></VM>":                             "<VM><X/></VM>",
		"<VM><TEMPLATE><A><![CDATA[ <TEMPLATE> ]]></A></TEMPLATE><X/></VM>":                           "<VM><X/></VM>",
		"<VM><TEMPLATE><A>":          "<VM><TEMPLATE><A>",
		"<VM><TEMPLATE><A><![CDATA[": "<VM><TEMPLATE><A><![CDATA[",
		"<VM><>":                     "<VM><>",
		"<USER_TEMPLATE><A>1</A></USER_TEMPLATE><MONITORING><A>1</A></MONITORING>end": "<USER_TEMPLATE><A>1</A></USER_TEMPLATE>end",
	}
	for text, want := range texts {
		if got := string(skim([]byte(text))); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// Of recorded pools the same VMs are read with skimming and without.
func TestSkimKeepsWhatIsRead(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).Server()
	for _, call := range fixtures.Lines[recordedCall](t, "xmlrpc.jsonl") {
		if call.Method != "one.vmpool.infoextended" {
			continue
		}
		oned.says(call.Response)
		text, err := readAs(t.Context(), session, func(text []byte) ([]byte, error) { return bytes.Clone(text), nil }, call.Method)
		if err != nil {
			t.Fatal(err)
		}
		var full, skimmed struct {
			VMs []vmXML `xml:"VM"`
		}
		if err := unmarshal(text, &full); err != nil {
			t.Fatal(err)
		}
		if err := unmarshal(skim(text), &skimmed); err != nil {
			t.Fatal(err)
		}
		for i := range full.VMs {
			full.VMs[i].Permissions = Permissions{}
			full.VMs[i].LastHost, full.VMs[i].Hosts = full.VMs[i].host(), nil
		}
		if len(full.VMs) == 0 || !reflect.DeepEqual(full, skimmed) || strings.Contains(string(skim(text)), "<TEMPLATE>") {
			t.Errorf("%d VMs became %d", len(full.VMs), len(skimmed.VMs))
		}
		scanned, understood := scanVMs(text)
		if !understood || !reflect.DeepEqual(scanned, vmsOf(full.VMs)) {
			t.Errorf("scanned, understood %t, %d VMs became %d", understood, len(full.VMs), len(scanned))
		}
	}
}

func vmsOf(decoded []vmXML) []flow.VM {
	vms := make([]flow.VM, len(decoded))
	for i, one := range decoded {
		vms[i] = one.vm()
	}
	return vms
}

const scannedPool = "<VM_POOL><VM><ID>7</ID><NAME>a</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE><HISTORY_RECORDS><HISTORY><HOSTNAME>h1</HOSTNAME>" +
	"</HISTORY><HISTORY><HOSTNAME>h2</HOSTNAME></HISTORY></HISTORY_RECORDS><USER_TEMPLATE><SERVICE_ID><![CDATA[4]]></SERVICE_ID></USER_TEMPLATE></VM>" +
	"<VM><ID>9</ID><HISTORY_RECORDS/><USER_TEMPLATE><HISTORY_RECORDS><HOSTNAME>x</HOSTNAME></HISTORY_RECORDS></USER_TEMPLATE></VM></VM_POOL>"

// FuzzScanPool holds the scan of a pool against the general decoder, which may
// refuse what is broken in places that nobody reads.
func FuzzScanPool(f *testing.F) {
	for _, change := range [][2]string{
		{"", ""}, {"h2", "h&lt;2"}, {"h2", "h<2"}, {"h2", "h\xff"}, {"h2", "<![CDATA[h]]>"}, {"<ID>9", "<ID> 9"}, {"<VM>", "<VM/><VM>"},
		{"VM_POOL", "POOL"}, {"</VM><VM>", ""}, {"</VM>", "</VM>text"}, {"<HISTORY>", "<!-- <HOSTNAME>y</HOSTNAME> -->"}, {"<VM><ID>9", "<VM><VM><ID>9"},
	} {
		f.Add([]byte(strings.ReplaceAll(scannedPool, change[0], change[1])))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		scanned, understood := scanVMs(cleanXML(text))
		if !understood {
			return
		}
		var full struct {
			VMs []vmXML `xml:"VM"`
		}
		if unmarshal(skim(text), &full) == nil && !reflect.DeepEqual(scanned, vmsOf(full.VMs)) {
			t.Errorf("scanned %+v, decoded %+v\n%s", scanned, vmsOf(full.VMs), text)
		}
	})
}

func TestScanReadsAPool(t *testing.T) {
	scanned, understood := scanVMs([]byte(scannedPool))
	if !understood || len(scanned) != 2 || scanned[0].Host != "h2" || scanned[0].Service != 4 || scanned[1].ID != 9 || scanned[1].Host != "" {
		t.Errorf("%t %+v", understood, scanned)
	}
	for _, strange := range []string{"<VM_POOL/>", "<VMS><VM><ID>1</ID></VM></VMS>", strings.Replace(scannedPool, "h2", "h&#50;", 1), scannedPool[:len(scannedPool)-3]} {
		if _, understood := scanVMs([]byte(strange)); understood {
			t.Errorf("it was scanned: %s", strange)
		}
	}
}

// Of a well-formed element both ways find the same end.
func FuzzElementSize(f *testing.F) {
	for _, seed := range []string{"<A>x</A>", "<A><![CDATA[</A>]]></A>", "<A><A></A></A>", "<A><AB></AB></A>", "<![CDATA[<![CDATA[]]>"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, inside []byte) {
		text := append(append([]byte("<TEMPLATE>"), inside...), "</TEMPLATE><END/>"...)
		if xml.Unmarshal(text[:len(text)-len("<END/>")], new(struct{})) != nil || bytes.Contains(inside, []byte("<!--")) ||
			bytes.Contains(inside, []byte("<?")) || bytes.Contains(inside, []byte("<!")) && !bytes.Contains(inside, []byte("<![CDATA[")) || bytes.ContainsAny(inside, `"'`) {
			return
		}
		if fast, slow := elementSize(text, []byte("TEMPLATE")), countedSize(text); fast != slow {
			t.Fatalf("%q: %d by name, %d by counting", text, fast, slow)
		}
	})
}

func FuzzSkim(f *testing.F) {
	f.Add([]byte(vmMessage(7, "<A><![CDATA[<TEMPLATE>]]></A>")))
	f.Add([]byte("<a></TEMPLATE><TEMPLATE></a>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if skimmed := skim(text); len(skimmed) > len(text) {
			t.Fatalf("%q grew to %q", text, skimmed)
		}
	})
}
