package bench

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/embedded"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// line is a bridge, in a process of its own, between a publisher of ours and a
// JetStream on disk, which writes each batch before it acknowledges it.
type line struct {
	pipe      *pipeline.Pipeline
	url       string
	bridge    *bridgeProcess
	publisher *publisher
}

// newLine keeps JetStream's files in folder.
func newLine(b *testing.B, folder string) *line {
	b.Helper()
	server, err := embedded.Start(embedded.Config{StoreDir: folder, Listen: "127.0.0.1:0"})
	must(b, err)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		_ = server.Stop(ctx)
	})
	l := &line{url: server.URL()}
	l.pipe, err = pipeline.Open(b.Context(), pipeline.Config{URL: l.url, Name: "bench"})
	must(b, err)
	b.Cleanup(l.pipe.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	b.Cleanup(func() { listener.Close() })
	l.bridge = startBridgeProcess(b, "tcp://"+listener.Addr().String(), l.url)
	l.publisher = publishTo(b, listener)
	l.wait(b, func(s bridge.FeedStatus) bool { return s.Holding })
	return l
}

// wait asks ten times a second, and rarely enough to disturb nothing.
func (l *line) wait(b *testing.B, condition func(bridge.FeedStatus) bool) bridge.FeedStatus {
	b.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		status := l.bridge.status(b)
		if condition(status) {
			return status
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.Fatalf("the bridge stands still: %+v", status)
		}
	}
}

const (
	rateEvents = 200_000
	// busyOfBareLoop is the processor time of bridge, server and publisher for an event, in times of the server's and a bare loop's.
	busyOfBareLoop = 1.8
	// rateRounds are what the floor and the bridge take turns in: the machine is
	// not the same all the time.
	rateRounds = 4
)

// BenchmarkBridgeRate sends 2 KB state events over ZeroMQ as fast as they are
// taken, until JetStream has acknowledged all. The floor is a bare loop that
// publishes the very same stored payloads to the same stream, in batches of the
// same size, and waits for each. Publisher and server share the machine's two
// processors with the bridge.
func BenchmarkBridgeRate(b *testing.B) {
	for b.Loop() {
		l := newLine(b, b.TempDir())
		messages := make([][]byte, 1000)
		for i := range messages {
			messages[i] = wire(stateFrames(i, 42))
		}
		var ours, floor, oursBusy, floorBusy time.Duration
		sent := 0
		for range rateRounds {
			began, busy := time.Now(), ownBusy(b)
			for target := sent + rateEvents/rateRounds; sent < target; sent += len(messages) {
				l.publisher.send(b, messages)
			}
			l.wait(b, func(s bridge.FeedStatus) bool { return s.Published+s.Dropped == uint64(sent) })
			ours, oursBusy, busy = ours+time.Since(began), oursBusy+ownBusy(b)-busy, ownBusy(b)
			floor += l.floor(b, rateEvents/rateRounds)
			floorBusy += ownBusy(b) - busy
		}
		status := l.bridge.status(b)
		rate, bare := float64(sent)/ours.Seconds(), float64(sent)/floor.Seconds()
		fmt.Printf("%-58s %8.0f events/s  floor %8.0f  ratio %.2f  lost %d  the bridge's memory at most %d MiB\n",
			"bridge, 2 KB events, ZeroMQ to stored and acknowledged", rate, bare, rate/bare, uint64(sent)-status.Published, l.bridge.memory()>>20)
		bridgeBusy := busyOf(b, l.bridge.command.Process.Pid)
		each := func(all time.Duration) float64 { return float64(all.Microseconds()) / float64(sent) }
		fmt.Printf("%-58s %.1f µs  server and publisher %.1f µs  server and bare loop %.1f µs\n",
			"the bridge's processor time for an event", each(bridgeBusy), each(oursBusy), each(floorBusy))
		notFar(b, "the processor time for an event", float64(bridgeBusy+oursBusy)/float64(floorBusy), busyOfBareLoop)
		b.ReportMetric(rate, "events/s")
		b.ReportMetric(rate/bare, "x-floor")
		b.ReportMetric(float64(l.bridge.memory()>>20), "MiB")
		b.ReportMetric(0, "ns/op")
		if status.Dropped > 0 || status.Heard != uint64(sent) {
			b.Errorf("events were lost: %+v", status)
		}
	}
}

// ownBusy is how much processor time this process has used.
func ownBusy(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// floor is how long a bare loop takes for the payloads that the bridge stored.
func (l *line) floor(b *testing.B, count int) time.Duration {
	b.Helper()
	ctx := b.Context()
	lease, err := acquire(ctx, l.pipe, "floor", "bench")
	must(b, err)
	stream, err := l.pipe.JetStream().Stream(ctx, pipeline.StreamONE)
	must(b, err)
	message, err := stream.GetMsg(ctx, 1000)
	must(b, err)
	const batch = 1000
	began := time.Now()
	for sent := 0; sent < count; sent += batch {
		events := make([]feeds.Event, batch)
		for i := range events {
			events[i] = feeds.Event{
				Subject: pipeline.VMSubject(0, i, "ACTIVE", "RUNNING"), MessageID: fmt.Sprintf("0123456789abcdef-%d-%d", began.UnixNano(), sent+i), Data: message.Data,
			}
		}
		must(b, lease.Publish(ctx, events))
	}
	return time.Since(began)
}
