package bench

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/pipeline"
)

// line is a bridge between a publisher of ours and a JetStream on disk, which
// writes each batch before it acknowledges it.
type line struct {
	pipe      *pipeline.Pipeline
	bridge    *bridge.Bridge
	publisher *zmq4.Conn
}

func newLine(b *testing.B) *line {
	b.Helper()
	server, err := pipeline.StartServer(pipeline.ServerConfig{StoreDir: b.TempDir(), Listen: "127.0.0.1:0", SyncAlways: true})
	must(b, err)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = server.Stop(ctx)
	})
	pipe, err := pipeline.Open(b.Context(), pipeline.Config{URL: server.URL(), Name: "bench"})
	must(b, err)
	b.Cleanup(pipe.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	b.Cleanup(func() { listener.Close() })
	l := &line{pipe: pipe}
	l.bridge = bridge.New(bridge.Config{
		Endpoints: []string{"tcp://" + listener.Addr().String()}, Logger: slog.New(slog.DiscardHandler),
	}, pipe, nil)
	must(b, l.bridge.Start(b.Context()))
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = l.bridge.Stop(ctx)
	})
	accepted, err := listener.Accept()
	must(b, err)
	b.Cleanup(func() { accepted.Close() })
	l.publisher, err = zmq4.Open(accepted, null.Security(), zmq4.Pub, zmq4.SocketIdentity(""), true, nil)
	must(b, err)
	for range 2 { // the subscriptions
		_, err := l.publisher.RecvMsg()
		must(b, err)
	}
	go func() { _, _ = io.Copy(io.Discard, accepted) }()
	l.wait(b, func(s bridge.FeedStatus) bool { return s.Holding })
	return l
}

func (l *line) wait(b *testing.B, condition func(bridge.FeedStatus) bool) {
	b.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition(l.bridge.Status()[0]) {
		select {
		case <-tick.C:
		case <-deadline:
			b.Fatalf("the bridge stands still: %+v", l.bridge.Status()[0])
		}
	}
}

// stateFrames are a VM's state event with a body of 2 KB.
func stateFrames(vm int) [][]byte {
	body := fmt.Sprintf("<HOOK_MESSAGE><HOOK_TYPE>STATE</HOOK_TYPE><HOOK_OBJECT>VM</HOOK_OBJECT><STATE>ACTIVE</STATE><LCM_STATE>RUNNING</LCM_STATE>"+
		"<RESOURCE_ID>%d</RESOURCE_ID><REMOTE_HOST>node-1</REMOTE_HOST><VM><ID>%d</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME>"+
		"<NAME>web_%d</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE><TEMPLATE>%s</TEMPLATE>"+
		"<USER_TEMPLATE><SERVICE_ID><![CDATA[42]]></SERVICE_ID><ROLE_NAME><![CDATA[web]]></ROLE_NAME></USER_TEMPLATE></VM></HOOK_MESSAGE>",
		vm, vm, vm, strings.Repeat("<DISK><SIZE><![CDATA[2048]]></SIZE></DISK>", 35))
	key := fmt.Sprintf("EVENT STATE VM/ACTIVE/RUNNING/%d ", vm)
	return [][]byte{[]byte(key), []byte(base64.StdEncoding.EncodeToString([]byte(body)))}
}

// heap is the highest heap seen while sampled.
type heap struct {
	most uint64
	stop chan struct{}
	done sync.WaitGroup
}

func sampleHeap() *heap {
	h := &heap{stop: make(chan struct{})}
	h.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			h.most = max(h.most, stats.HeapInuse)
			select {
			case <-h.stop:
				return
			case <-tick.C:
			}
		}
	})
	return h
}

func (h *heap) end() uint64 {
	close(h.stop)
	h.done.Wait()
	return h.most
}

const rateEvents = 100_000

// BenchmarkBridgeRate sends 2 KB state events over ZeroMQ as fast as they are
// taken, until JetStream has acknowledged all. The floor is a bare loop that
// publishes the very same stored payloads to the same stream, in batches of the
// same size. Sender, bridge and server share the machine and the process.
func BenchmarkBridgeRate(b *testing.B) {
	for b.Loop() {
		l := newLine(b)
		frames := make([]zmq4.Msg, 1000)
		for i := range frames {
			frames[i] = zmq4.NewMsgFrom(stateFrames(i)...)
		}
		memory := sampleHeap()
		began := time.Now()
		for i := range rateEvents {
			must(b, l.publisher.SendMsg(frames[i%len(frames)]))
		}
		l.wait(b, func(s bridge.FeedStatus) bool { return s.Published+s.Dropped == rateEvents })
		ours := rateEvents / time.Since(began).Seconds()
		heapBytes := memory.end()
		status := l.bridge.Status()[0]
		floor := l.floor(b)
		fmt.Printf("%-58s %8.0f events/s  floor %8.0f  ratio %.2f  lost %d  heap with sender and server %d MiB\n",
			"bridge, 2 KB events, ZeroMQ to stored and acknowledged", ours, floor, ours/floor, status.Dropped, heapBytes>>20)
		b.ReportMetric(ours, "events/s")
		b.ReportMetric(ours/floor, "x-floor")
		b.ReportMetric(0, "ns/op")
		if status.Dropped > 0 || status.Overflows > 0 && status.Heard != rateEvents {
			b.Errorf("events were lost: %+v", status)
		}
	}
}

// floor is the rate of a bare loop with the payloads that the bridge stored.
func (l *line) floor(b *testing.B) float64 {
	b.Helper()
	ctx := b.Context()
	lease, err := l.pipe.AcquireFeed(ctx, "floor", "bench")
	must(b, err)
	stream, err := l.pipe.JetStream().Stream(ctx, pipeline.StreamONE)
	must(b, err)
	message, err := stream.GetMsg(ctx, 1000)
	must(b, err)
	const batch = 1000
	began := time.Now()
	for sent := 0; sent < rateEvents; sent += batch {
		events := make([]pipeline.FeedEvent, batch)
		for i := range events {
			events[i] = pipeline.FeedEvent{
				Subject: pipeline.VMSubject(0, i, "ACTIVE", "RUNNING"), MessageID: fmt.Sprintf("0123456789abcdef-floor-%d", sent+i),
				Hash: "0123456789abcdef0123456789abcdef", Data: message.Data,
			}
		}
		must(b, lease.Publish(ctx, events))
	}
	return rateEvents / time.Since(began).Seconds()
}

// BenchmarkBridgeLatency is the time from an event's leaving the publisher to
// its arrival at a reader of the stream, at 1,000 events a second. The floor is
// one publish to the same stream that is waited for.
func BenchmarkBridgeLatency(b *testing.B) {
	l := newLine(b)
	const count = 3000
	reader, err := l.pipe.ReadEvents(b.Context(), 0)
	must(b, err)
	defer reader.Stop()
	for b.Loop() {
		sent, taken := make([]time.Time, count), make([]time.Duration, 0, count)
		frames := make([]zmq4.Msg, count)
		for i := range frames {
			frames[i] = zmq4.NewMsgFrom(stateFrames(i)...)
		}
		go func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for i := range count {
				<-tick.C
				sent[i] = time.Now()
				_ = l.publisher.SendMsg(frames[i])
			}
		}()
		for range count {
			_, event, err := reader.Next(b.Context())
			must(b, err)
			taken = append(taken, time.Since(sent[event.ID]))
		}
		report(b, "bridge, PUB send to the stream's reader at 1,000 events/s", taken, l.singles(b))
	}
}

func (l *line) singles(b *testing.B) []time.Duration {
	b.Helper()
	lease, err := l.pipe.AcquireFeed(b.Context(), "singles", "bench")
	must(b, err)
	var taken []time.Duration
	for i := range 300 {
		event := pipeline.FeedEvent{
			Subject: "one.0.host.1.MONITORED", MessageID: fmt.Sprintf("0123456789abcdef-%d-%d", time.Now().UnixNano(), i), Hash: "0",
			Event: pipeline.Event{Object: "host", ID: 1},
		}
		began := time.Now()
		must(b, lease.Publish(b.Context(), []pipeline.FeedEvent{event}))
		taken = append(taken, time.Since(began))
	}
	return taken
}
