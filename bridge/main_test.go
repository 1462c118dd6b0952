package bridge

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

func TestMain(m *testing.M) {
	if os.Getenv(asBridge) != "" {
		os.Exit(runAsBridge())
	}
	// zmq4's own PUB socket, which a test uses, never ends its writer.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/go-zeromq/zmq4.(*pubMWriter).run"))
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

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(data)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *lockedBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
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
	t.Cleanup(p.close)
	return p
}

// waitForSubscribers returns when so many have subscribed to something.
func (p *publisher) waitForSubscribers(ctx context.Context, count int) error {
	for {
		p.mu.Lock()
		changed, has := p.changed, len(p.subscribers)
		p.mu.Unlock()
		if has >= count {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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
	for sequence := uint64(1); sequence <= last; sequence++ {
		message, err := handle.GetMsg(ctx, sequence)
		must(t, err)
		if !bytes.HasPrefix([]byte(message.Subject), []byte("one.lease.")) {
			all = append(all, stored{message.Subject, message.Header, message.Data})
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
