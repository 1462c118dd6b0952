package bridge

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline/work"
)

// largeFrames are a VM's event of the usual size, about 5 KB.
func largeFrames(id int) [][]byte {
	frames := vmFrames(running(id))
	body, _ := base64.StdEncoding.DecodeString(string(frames[1]))
	filled := strings.Replace(string(body), "<USER_TEMPLATE>", "<TEMPLATE>"+strings.Repeat("<A><![CDATA[some value]]></A>", 150)+"</TEMPLATE><USER_TEMPLATE>", 1)
	return [][]byte{frames[0], []byte(base64.StdEncoding.EncodeToString([]byte(filled)))}
}

// BenchmarkBurst is the time per event from ZeroMQ to JetStream's ack, when
// they come as fast as they are taken: a host with all its VMs fails.
func BenchmarkBurst(b *testing.B) {
	p, publisher := newPipeline(b), newTestPublisher(b, "127.0.0.1:0")
	bridge := New(quietly("tcp://"+publisher.address()), p, nil)
	startBridge(b, bridge)
	must(b, publisher.waitForSubscriber(limited(b), bridge.config.topics()))
	frames := make([][][]byte, 1000)
	for i := range frames {
		frames[i] = largeFrames(i)
	}
	b.ResetTimer()
	for i := range b.N {
		publisher.send(frames[i%len(frames)])
	}
	poll.Until(b, fmt.Sprint(b.N, " events to be stored"), func() bool { return bridge.Status()[0].Published == uint64(b.N) })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkSingle is the time from one event's leaving ZeroMQ until it is
// stored, when nothing else is going on.
func BenchmarkSingle(b *testing.B) {
	p, publisher := newPipeline(b), newTestPublisher(b, "127.0.0.1:0")
	bridge := New(quietly("tcp://"+publisher.address()), p, nil)
	startBridge(b, bridge)
	must(b, publisher.waitForSubscriber(limited(b), bridge.config.topics()))
	ctx := limited(b)
	reader, err := work.NewQueue(p).ReadEvents(ctx, 0)
	must(b, err)
	defer reader.Stop()
	frames := largeFrames(1)
	for b.Loop() {
		publisher.send(frames)
		_, _, err := reader.Next(ctx)
		must(b, err)
	}
}
