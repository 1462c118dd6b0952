package opennebula

import (
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
