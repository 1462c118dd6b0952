// Package testlog collects what the parts under a test write, such as their log, from any goroutine.
package testlog

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
)

// Log is a writer whose text can be read while it is written. The zero value is empty.
type Log struct {
	mutex sync.Mutex
	text  strings.Builder
}

// Write implements io.Writer; it never fails.
func (l *Log) Write(text []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(text)
}

// String returns everything written so far.
func (l *Log) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

// Logger returns a logger that writes to it, at every level.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Count returns how often a text was written.
func (l *Log) Count(text string) int { return strings.Count(l.String(), text) }

// Await waits until a text was written.
func (l *Log) Await(t testing.TB, text string) {
	t.Helper()
	poll.Until(t, "the log to have "+text, func() bool { return l.Count(text) > 0 })
}
