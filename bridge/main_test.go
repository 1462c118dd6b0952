package bridge

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/zmqpub"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

func TestMain(m *testing.M) {
	if os.Getenv(asBridge) != "" {
		os.Exit(runAsBridge())
	}
	// zmq4's own PUB socket, which a test uses, never ends its writer.
	natstest.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/go-zeromq/zmq4.(*pubMWriter).run"))
}

func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newPipeline(t testing.TB) *pipeline.Pipeline {
	t.Helper()
	return openPipeline(t, natstest.Server(t))
}

func openPipeline(t testing.TB, url string) *pipeline.Pipeline {
	t.Helper()
	p, err := pipeline.Open(limited(t), pipeline.Config{URL: url, Name: t.Name()})
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

func newTestPublisher(t testing.TB, listen string) *publisher {
	t.Helper()
	p, err := newPublisher(context.Background(), listen)
	must(t, err)
	t.Cleanup(p.Close)
	return &publisher{p}
}

// publisher publishes as oned does, and waits for slow subscribers.
type publisher struct{ *zmqpub.Publisher }

func (p *publisher) address() string { return p.Addr() }

func (p *publisher) close() { p.Close() }

func (p *publisher) send(frames [][]byte) int { return p.Send(frames...) }

func (p *publisher) waitForSubscriber(ctx context.Context, keys []string) error {
	return p.Wait(ctx, 1, 0, keys...)
}

// waitForSubscribers returns when so many have subscribed to something.
func (p *publisher) waitForSubscribers(ctx context.Context, count int) error {
	return p.Wait(ctx, count, 0)
}

// startBridge starts a bridge that is stopped with the test.
func startBridge(t testing.TB, b *Bridge) {
	t.Helper()
	must(t, b.Start(limited(t)))
	t.Cleanup(func() {
		if err := b.Stop(limited(t)); err != nil {
			t.Error(err)
		}
	})
}

// stored is a message of StreamONE or StreamDead as it is in the stream.
type stored struct {
	Subject string
	Header  map[string][]string
	Data    []byte
}

// everything is all that a stream holds, without leases.
func everything(t testing.TB, p *pipeline.Pipeline, stream string) []stored {
	t.Helper()
	ctx := limited(t)
	handle, err := p.JetStream().Stream(ctx, stream)
	must(t, err)
	var all []stored
	last := handle.CachedInfo().State.LastSeq
	consumer, err := handle.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	must(t, err)
	messages, err := consumer.Messages()
	must(t, err)
	defer messages.Stop()
	for range last {
		message, err := messages.Next(jetstream.NextContext(ctx))
		must(t, err)
		if !strings.HasPrefix(message.Subject(), "one.lease.") {
			all = append(all, stored{message.Subject(), message.Headers(), message.Data()})
		}
	}
	return all
}

// lastVMEvents is the newest stored event of each VM.
func lastVMEvents(ctx context.Context, p *pipeline.Pipeline) (map[int]pipeline.Event, error) {
	index := feeds.New(p).Index(objectVM)
	if err := index.CatchUp(ctx); err != nil {
		return nil, err
	}
	last := map[int]pipeline.Event{}
	var failed error
	index.All(func(id int, _ feeds.StoredObject) {
		event, _, err := index.Event(ctx, id)
		last[id], failed = event, errors.Join(failed, err)
	})
	return last, failed
}
