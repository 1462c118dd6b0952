package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// Log is where a process's log goes, and how much of it.
type Log struct {
	*slog.Logger
	level *slog.LevelVar
}

// NewLog makes the log that the configuration asks for: text, one JSON object a
// line, or lines for journald, which has the time and the level for itself.
func NewLog(config Config, out io.Writer) (Log, error) {
	level := new(slog.LevelVar)
	if err := setLevel(level, config.Log.Level); err != nil {
		return Log{}, err
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch format(config.Log.Format) {
	case "json":
		handler = slog.NewJSONHandler(out, options)
	case "journal":
		handler = newJournal(out, level)
	default:
		handler = slog.NewTextHandler(out, options)
	}
	return Log{Logger: slog.New(handler), level: level}, nil
}

func setLevel(level *slog.LevelVar, text string) error {
	var parsed slog.Level
	if err := parsed.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("log level %q is not one of debug, info, warn and error", text)
	}
	level.Set(parsed)
	return nil
}

// format is the one asked for; auto means journal where systemd has connected
// the output to its journal.
func format(asked string) string {
	if asked == "auto" && os.Getenv("JOURNAL_STREAM") != "" {
		return "journal"
	}
	return asked
}

// journal writes lines that begin with a priority as sd-daemon(3) defines it,
// by which `journalctl -p warning` finds them.
type journal struct {
	slog.Handler
	out *prefixed
}

func newJournal(out io.Writer, level slog.Leveler) *journal {
	lines := &prefixed{out: out}
	return &journal{slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTimeAndLevel}), lines}
}

func withoutTimeAndLevel(groups []string, attribute slog.Attr) slog.Attr {
	if len(groups) == 0 && (attribute.Key == slog.TimeKey || attribute.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return attribute
}

// Handle is slog.Handler's.
func (j *journal) Handle(ctx context.Context, record slog.Record) error {
	j.out.mutex.Lock()
	defer j.out.mutex.Unlock()
	switch {
	case record.Level >= slog.LevelError:
		j.out.prefix = "<3>"
	case record.Level >= slog.LevelWarn:
		j.out.prefix = "<4>"
	case record.Level >= slog.LevelInfo:
		j.out.prefix = "<6>"
	default:
		j.out.prefix = "<7>"
	}
	return j.Handler.Handle(ctx, record)
}

// WithAttrs is slog.Handler's.
func (j *journal) WithAttrs(attributes []slog.Attr) slog.Handler {
	return &journal{j.Handler.WithAttrs(attributes), j.out}
}

// WithGroup is slog.Handler's.
func (j *journal) WithGroup(name string) slog.Handler {
	return &journal{j.Handler.WithGroup(name), j.out}
}

// prefixed puts the priority before each line; slog writes a line at a time.
type prefixed struct {
	out io.Writer

	mutex  sync.Mutex
	prefix string
}

func (p *prefixed) Write(line []byte) (int, error) {
	if _, err := p.out.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
