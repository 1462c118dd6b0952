package opennebula

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/fixtures"
)

// BenchmarkDecodeEvent reads recorded VM events of 3-8 KB.
func BenchmarkDecodeEvent(b *testing.B) {
	var events []recordedEvent
	for _, line := range fixtures.Lines[recordedEvent](b, "zmq_events.jsonl") {
		if key, err := ParseKey(line.Key); err == nil && key.Kind == KeyState && key.Object == "vm" {
			events = append(events, line)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		event := events[i%len(events)]
		if _, err := DecodeEvent(event.Key, []byte(event.Body)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScanPool reads ten VMs as a service's look at oned does: by the scan, and
// by the general decoder as the floor.
func BenchmarkScanPool(b *testing.B) {
	vm := "<VM><ID>7</ID><UID>2</UID><GID>1</GID><UNAME>ada</UNAME><GNAME>users</GNAME><NAME>web_0</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE>" +
		"<TEMPLATE>" + strings.Repeat("<NIC><IP><![CDATA[10.0.0.1]]></IP></NIC>", 30) + "</TEMPLATE><HISTORY_RECORDS><HISTORY><HOSTNAME>h1</HOSTNAME></HISTORY></HISTORY_RECORDS>" +
		"<USER_TEMPLATE><SERVICE_ID><![CDATA[4]]></SERVICE_ID><ROLE_NAME><![CDATA[web]]></ROLE_NAME></USER_TEMPLATE></VM>"
	text := []byte("<VM_POOL>" + strings.Repeat(vm, 10) + "</VM_POOL>")
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			if vms, understood := scanVMs(text); !understood || len(vms) != 10 {
				b.Fatal("not understood")
			}
		}
	})
	b.Run("decoder", func(b *testing.B) {
		for b.Loop() {
			var pool struct {
				VMs []vmXML `xml:"VM"`
			}
			if err := unmarshal(skim(text), &pool); err != nil {
				b.Fatal(err)
			}
		}
	})
}
