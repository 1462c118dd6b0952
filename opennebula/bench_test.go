package opennebula

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// BenchmarkDecodeEvent reads recorded VM events of 3-8 KB.
func BenchmarkDecodeEvent(b *testing.B) {
	var events []recordedEvent
	for _, line := range fixtures.Lines[recordedEvent](b, "zmq_events.jsonl") {
		if key, err := ParseKey(line.Key); err == nil && key.Object == "vm" {
			events = append(events, line)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		event := events[i%len(events)]
		if _, err := decodeEvent(event.Key, []byte(event.Body)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadPools reads ten VMs, as a service's look at oned does, and a pool of
// 1,000 services; by encoding/xml as the floor.
func BenchmarkReadPools(b *testing.B) {
	vm := "<VM><ID>7</ID><UID>2</UID><GID>1</GID><UNAME>ada</UNAME><GNAME>users</GNAME><NAME>web_0</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE>" +
		"<TEMPLATE>" + strings.Repeat("<NIC><IP><![CDATA[10.0.0.1]]></IP></NIC>", 30) + "</TEMPLATE><HISTORY_RECORDS><HISTORY><HOSTNAME>h1</HOSTNAME></HISTORY></HISTORY_RECORDS>" +
		"<USER_TEMPLATE><SERVICE_ID><![CDATA[4]]></SERVICE_ID><ROLE_NAME><![CDATA[web]]></ROLE_NAME></USER_TEMPLATE></VM>"
	service := "<DOCUMENT><ID>7</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>pool</NAME><TYPE>100</TYPE>" +
		templateText("", []byte(`{"name":"pool","roles":["`+strings.Repeat("x", 400)+`"]}`)) + "</DOCUMENT>"
	benchmarkPool(b, "VMs", "<VM_POOL>"+strings.Repeat(vm, 10)+"</VM_POOL>", "VM", readVM, vmXML.vm)
	benchmarkPool(b, "services", "<DOCUMENT_POOL>"+strings.Repeat(service, 1000)+"</DOCUMENT_POOL>", "DOCUMENT", readDocument, documentXML.document)
}

func benchmarkPool[X, T any](b *testing.B, name, pool, element string, read func(r *onexml.Reader) T, of func(X) T) {
	text := []byte(pool)
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := readPool("", text, element, read); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(name+"/floor", func(b *testing.B) {
		for b.Loop() {
			if _, err := referencePool(text, element, of); err != nil {
				b.Fatal(err)
			}
		}
	})
}
