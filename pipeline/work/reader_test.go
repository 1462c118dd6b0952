package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

func wake(t testing.TB, p clients, service int, reason string) uint64 {
	t.Helper()
	// With an id: one whose answer is late is sent again.
	sequence, err := p.PublishWork(limited(t), pipeline.Work{Service: service, Reason: reason}, nuid.Next())
	must(t, err)
	return sequence
}

func nextReason(t testing.TB, reader *PartitionReader, want string) pipeline.Input {
	t.Helper()
	input, err := reader.Next(limited(t))
	must(t, err)
	if input.Work.Reason != want {
		t.Fatalf("read %q, wanted %q", input.Work.Reason, want)
	}
	return input
}

// neighbour is another service on the same partition.
func neighbour(service int) int {
	other := service + 1
	for pipeline.Partition(other) != pipeline.Partition(service) {
		other++
	}
	return other
}

func TestAReaderReadsItsPartitionInOrder(t *testing.T) {
	p := single(t)
	elsewhere := 1
	for pipeline.Partition(elsewhere) == pipeline.Partition(42) {
		elsewhere++
	}
	reader := readPartition(t, p, pipeline.Partition(42), 0)
	first := wake(t, p, 42, "a")
	wake(t, p, elsewhere, "not mine")
	wake(t, p, neighbour(42), "b")
	wake(t, p, 42, "c")
	input := nextReason(t, reader, "a")
	if input.Sequence != first || input.ReplyTo != "" || time.Since(input.Published) > time.Minute {
		t.Errorf("got %+v", input)
	}
	nextReason(t, reader, "b")
	nextReason(t, reader, "c")
}

func TestAReaderStartsBehindItsCursor(t *testing.T) {
	p, ctx := single(t), limited(t)
	wake(t, p, 42, "a")
	second := wake(t, p, 42, "b")
	wake(t, p, 42, "c")
	cursor, err := p.LoadCursor(ctx, pipeline.PartitionKey(1))
	must(t, err)
	if cursor != 0 {
		t.Errorf("a cursor that was never saved is %d", cursor)
	}
	must(t, p.SaveCursor(ctx, pipeline.PartitionKey(1), second))
	cursor, err = p.LoadCursor(ctx, pipeline.PartitionKey(1))
	must(t, err)
	reader := readPartition(t, p, pipeline.Partition(42), cursor)
	nextReason(t, reader, "c")
}

func TestAStreamMadeAnewGoesOnBehindTheCursors(t *testing.T) {
	url, ctx := natstest.Server(t), limited(t)
	p := open(t, url)
	wake(t, p, 42, "a")
	must(t, p.SaveCursor(ctx, pipeline.PartitionKey(pipeline.Partition(42)), 1000))
	must(t, p.JetStream().DeleteStream(ctx, pipeline.StreamWork))

	p = open(t, url, func(c *pipeline.Config) { c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil)) })
	if sequence := wake(t, p, 42, "b"); sequence <= 1000 {
		t.Errorf("the work is numbered %d", sequence)
	}
	nextReason(t, readPartition(t, p, pipeline.Partition(42), 1000), "b")
}

func TestAReaderSurvivesARestartOfTheServer(t *testing.T) {
	node := natstest.NewNode(t)
	p := open(t, node.URL())
	reader := readPartition(t, p, pipeline.Partition(42), 0)
	wake(t, p, 42, "a")
	nextReason(t, reader, "a")
	for _, reason := range []string{"b", "c"} {
		node.Stop()
		node.Start()
		wake(t, p, 42, reason)
		begin := time.Now()
		nextReason(t, reader, reason)
		if took := time.Since(begin); took > 10*time.Second { // nats.go's own takes up to 11 s, on an idle machine
			t.Errorf("reading took %v after a restart", took)
		}
	}
}

func TestAReaderReplacesALostConsumer(t *testing.T) {
	p := single(t)
	reader := readPartition(t, p, pipeline.Partition(42), 0)
	for i := range 3 {
		wake(t, p, 42, fmt.Sprint(i))
		nextReason(t, reader, fmt.Sprint(i))
		deleteConsumers(t, p)
	}
}

func TestAReaderMovesWithTheClustersLeader(t *testing.T) {
	nodes := natstest.Cluster(t, 3)
	p := open(t, nodes.URL(), replicas(3))
	reader := readPartition(t, p, pipeline.Partition(42), 0)
	wake(t, p, 42, "a")
	nextReason(t, reader, "a")
	nodes.Leader(pipeline.StreamWork).Stop()
	wake(t, p, 42, "b")
	wake(t, p, 42, "c")
	nextReason(t, reader, "b")
	nextReason(t, reader, "c")
}

func TestWhatCannotBeReadIsADeadLetter(t *testing.T) {
	p, ctx := single(t), limited(t)
	reader := readPartition(t, p, pipeline.Partition(42), 0)
	for _, poison := range []string{"not json", `{"v":0,"service":42}`, `{}`} {
		_, err := p.JetStream().Publish(ctx, pipeline.WorkSubject(42), []byte(poison))
		must(t, err)
		if input, err := reader.Next(ctx); input.Sequence == 0 || !errors.Is(err, pipeline.ErrUnreadable) {
			t.Errorf("%s: input %d ends with %v", poison, input.Sequence, err)
		}
	}
	wake(t, p, 42, "good")
	nextReason(t, reader, "good")
	dead, err := p.Client.Stream(pipeline.StreamDead).Get(ctx, 1)
	must(t, err)
	if dead.Subject != pipeline.DeadSubject("work") || string(dead.Data) != "not json" ||
		!strings.Contains(dead.Header.Get(pipeline.HeaderReason), pipeline.StoredWorkSubject(42)) {
		t.Errorf("the dead letter is %s %q %v", dead.Subject, dead.Data, dead.Header)
	}
	info, err := p.Client.Stream(pipeline.StreamDead).Info(ctx)
	must(t, err)
	if info.State.Msgs != 3 {
		t.Errorf("%d dead letters", info.State.Msgs)
	}
}

func TestAnEventThatCannotBeReadIsADeadLetter(t *testing.T) {
	p, ctx := single(t), limited(t)
	const unreadable = "one.0.vm.1.ACTIVE.RUNNING"
	_, err := p.JetStream().Publish(ctx, unreadable, []byte("<xml>"))
	must(t, err)
	lease, err := feeds.New(p.Pipeline).Acquire(ctx, "fe1", "bridge", 0)
	must(t, err)
	must(t, lease.Publish(ctx, []feeds.Event{vmEvent(7)}))
	reader, err := p.ReadEvents(ctx, 0)
	must(t, err)
	defer reader.Stop()
	if sequence, _, err := reader.Next(ctx); sequence == 0 || !errors.Is(err, pipeline.ErrUnreadable) {
		t.Errorf("number %d ends with %v", sequence, err)
	}
	sequence, event, err := reader.Next(ctx)
	must(t, err)
	if end, err := p.EndOfEvents(ctx); err != nil || sequence != end || event.VM.Service != 7 {
		t.Errorf("read %+v, number %d of %d (%v)", event, sequence, end, err)
	}
	noMessage(t, p, pipeline.StreamDead, pipeline.DeadSubject("work"))
	dead, err := p.Client.Stream(pipeline.StreamDead).Last(ctx, pipeline.DeadSubject("events"))
	must(t, err)
	if origin := dead.Header.Get(pipeline.HeaderOrigin); origin != unreadable || string(dead.Data) != "<xml>" {
		t.Errorf("the dead letter is %q, to be sent again on %s", dead.Data, origin)
	}
}

// TestAStreamThatIsAsLongAgain: a stream that has lost its end and has grown as long again ends where it did. A restart without a
// loss is none.
func TestAStreamThatIsAsLongAgain(t *testing.T) {
	for _, lost := range []bool{true, false} {
		node := natstest.NewNode(t)
		p, ctx := open(t, node.URL()), limited(t)
		publish := func() {
			message := nats.NewMsg("one.0.vm.1.ACTIVE.RUNNING")
			message.Data = []byte(`{"v":3,"object":"vm","id":1}`)
			_, err := p.Publish(ctx, message) // repeated: an answer can be lost with the server
			must(t, err)
		}
		publish()
		publish()
		reader, err := p.ReadEvents(ctx, 0)
		must(t, err)
		defer reader.Stop()
		for range 2 {
			_, _, err := reader.Next(ctx)
			must(t, err)
		}
		node.Stop()
		if lost {
			blocks, err := filepath.Glob(filepath.Join(node.StoreDir(), "jetstream", "*", "streams", pipeline.StreamONE, "msgs", "*"))
			must(t, err)
			for _, block := range blocks {
				must(t, os.Remove(block))
			}
		}
		node.Start()
		poll.Until(t, "NATS to be back", func() bool { return p.State().Connected })
		for end := uint64(0); end < 3; {
			publish()
			end, err = p.EndOfEvents(ctx)
			must(t, err)
		}
		if sequence, _, err := reader.Next(ctx); errors.Is(err, pipeline.ErrRewritten) != lost || !lost && sequence != 3 {
			t.Errorf("lost %t: number %d, %v", lost, sequence, err)
		}
	}
}

// A mark is of the event that was read last, and recognises it: by its number and the time at which it was stored.
func TestTheMarkOfAnEvent(t *testing.T) {
	p, ctx := single(t), limited(t)
	for range 2 {
		_, err := p.JetStream().Publish(ctx, "one.0.vm.1.ACTIVE.RUNNING", []byte(`{"v":3,"object":"vm","id":1}`))
		must(t, err)
	}
	reader, err := p.ReadEvents(ctx, 0)
	must(t, err)
	defer reader.Stop()
	if mark := reader.Mark(); mark != (pipeline.EventMark{}) {
		t.Errorf("before anything was read: %+v", mark)
	}
	_, _, err = reader.Next(ctx)
	must(t, err)
	first := reader.Mark()
	_, _, err = reader.Next(ctx)
	must(t, err)
	second := reader.Mark()
	if first.Sequence != 1 || second.Sequence != 2 || first.Stored.IsZero() || second.Stored.Before(first.Stored) {
		t.Fatalf("the marks are %+v and %+v", first, second)
	}
	must(t, p.Client.Stream(pipeline.StreamONE).Delete(ctx, 1))
	for name, test := range map[string]struct {
		mark      pipeline.EventMark
		rewritten bool
	}{
		"no mark":                     {pipeline.EventMark{}, false},
		"the event":                   {second, false},
		"another event in its place":  {pipeline.EventMark{Sequence: 2, Stored: second.Stored.Add(-time.Second)}, true},
		"an event that has expired":   {first, false},
		"an event that was never":     {pipeline.EventMark{Sequence: 99, Stored: second.Stored}, false},
		"a mark of another time zone": {pipeline.EventMark{Sequence: 2, Stored: second.Stored.In(time.FixedZone("", 3600))}, false},
	} {
		if rewritten, err := p.EventsRewritten(ctx, test.mark); rewritten != test.rewritten || err != nil {
			t.Errorf("%s: rewritten %t (%v)", name, rewritten, err)
		}
	}
}

func TestNextEndsWithItsContextAndWithStop(t *testing.T) {
	p := single(t)
	reader := readPartition(t, p, 3, 0)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := reader.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	ended := make(chan error)
	go func() {
		_, err := reader.Next(context.Background())
		ended <- err
	}()
	reader.Stop()
	reader.Stop()
	if err := <-ended; !errors.Is(err, pipeline.ErrClosed) {
		t.Fatalf("got %v", err)
	}
	poll.Until(t, "the server to forget the consumer", func() bool {
		info, err := p.Client.Stream(pipeline.StreamWork).Info(limited(t))
		return err == nil && info.State.Consumers == 0
	})
}

func TestNextAndStopDoNotWaitForAServerThatIsGone(t *testing.T) {
	node := natstest.NewNode(t)
	p := open(t, node.URL())
	reader := readPartition(t, p, 3, 0)
	node.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := reader.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	reader.Stop()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAClosedPipelineEndsItsReaders(t *testing.T) {
	p := single(t)
	reader := readPartition(t, p, 3, 0)
	ended := make(chan error)
	go func() {
		_, err := reader.Next(context.Background())
		ended <- err
	}()
	p.Close()
	if err := <-ended; !errors.Is(err, pipeline.ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

func TestThereAreSixteenPartitions(t *testing.T) {
	p := single(t)
	for _, partition := range []int{-1, pipeline.Partitions} {
		if _, err := p.ReadPartition(limited(t), partition, 0); err == nil {
			t.Errorf("partition %d can be read", partition)
		}
	}
}

// Every message of a long run reaches its partition's reader exactly once and
// in order although the consumers are deleted under the readers all the time.
func TestReadersLoseAndDoubleNothingWhileConsumersVanish(t *testing.T) {
	p, ctx := single(t), limited(t)
	const services, rounds = 8, 150
	var readers sync.WaitGroup
	for service := range services {
		reader := readPartition(t, p, pipeline.Partition(service), 0)
		readers.Go(func() {
			for round := 0; round < rounds; {
				input, err := reader.Next(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				if input.Work.Service != service {
					continue
				}
				if want := fmt.Sprint(round); input.Work.Reason != want {
					t.Errorf("service %d: read %s, wanted %s", service, input.Work.Reason, want)
					return
				}
				round++
			}
		})
	}
	for round := range rounds {
		for service := range services {
			wake(t, p, service, fmt.Sprint(round))
		}
		if round%10 == 0 {
			deleteConsumers(t, p)
		}
	}
	readers.Wait()
}

// TestWhatANewerFlowjetWroteIsHandedOnAsSuch: it is for its reader to wait.
func TestWhatANewerFlowjetWroteIsHandedOnAsSuch(t *testing.T) {
	p, ctx := single(t), limited(t)
	reader := readPartition(t, p, pipeline.Partition(42), 0)
	_, err := p.JetStream().Publish(ctx, pipeline.WorkSubject(42), []byte(`{"v":99,"service":42,"command":"of another form"}`))
	must(t, err)
	input, err := reader.Next(ctx)
	must(t, err)
	if !input.Work.Newer || input.Work.Service != 42 || input.Work.Version != 99 {
		t.Errorf("got %+v", input)
	}
	noMessage(t, p, pipeline.StreamDead, pipeline.DeadSubject("work"))
}

// deleteConsumers deletes the consumers of StreamWork under their readers.
func deleteConsumers(t *testing.T, p clients) {
	t.Helper()
	ctx := limited(t)
	stream, err := p.JetStream().Stream(ctx, pipeline.StreamWork)
	must(t, err)
	for name := range stream.ConsumerNames(ctx).Name() {
		if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Fatal(err)
		}
	}
}
