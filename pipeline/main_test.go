package pipeline

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limited is a context for a test's calls.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
	t.Cleanup(cancel)
	return ctx
}

// open opens a pipeline that is closed with the test.
func open(t testing.TB, url string, change ...func(*Config)) *Pipeline {
	t.Helper()
	config := Config{URL: url, Name: t.Name()}
	for _, apply := range change {
		apply(&config)
	}
	p, err := Open(limited(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// single is a pipeline on a server of its own.
func single(t testing.TB) *Pipeline {
	t.Helper()
	return open(t, natstest.Server(t))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// writer is told what is logged, line by line.
type writer func(line []byte)

func (w writer) Write(line []byte) (int, error) {
	w(line)
	return len(line), nil
}
