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
	level slog.Leveler
	// byLevel are the same handler behind different prefixes.
	debug, info, warning, failure slog.Handler
}

func newJournal(out io.Writer, level slog.Leveler) *journal {
	var together sync.Mutex
	with := func(priority string) slog.Handler {
		return slog.NewTextHandler(&prefixed{prefix: priority, out: out, together: &together}, &slog.HandlerOptions{
			Level: level, ReplaceAttr: withoutTimeAndLevel,
		})
	}
	return &journal{level: level, debug: with("<7>"), info: with("<6>"), warning: with("<4>"), failure: with("<3>")}
}

func withoutTimeAndLevel(groups []string, attribute slog.Attr) slog.Attr {
	if len(groups) == 0 && (attribute.Key == slog.TimeKey || attribute.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return attribute
}

// Enabled is slog.Handler's.
func (j *journal) Enabled(_ context.Context, level slog.Level) bool { return level >= j.level.Level() }

// Handle is slog.Handler's.
func (j *journal) Handle(ctx context.Context, record slog.Record) error {
	switch {
	case record.Level >= slog.LevelError:
		return j.failure.Handle(ctx, record)
	case record.Level >= slog.LevelWarn:
		return j.warning.Handle(ctx, record)
	case record.Level >= slog.LevelInfo:
		return j.info.Handle(ctx, record)
	}
	return j.debug.Handle(ctx, record)
}

// WithAttrs is slog.Handler's.
func (j *journal) WithAttrs(attributes []slog.Attr) slog.Handler {
	return j.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attributes) })
}

// WithGroup is slog.Handler's.
func (j *journal) WithGroup(name string) slog.Handler {
	return j.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (j *journal) each(change func(slog.Handler) slog.Handler) *journal {
	return &journal{level: j.level, debug: change(j.debug), info: change(j.info), warning: change(j.warning), failure: change(j.failure)}
}

// prefixed puts the priority before each line; slog writes a line at a time.
type prefixed struct {
	prefix   string
	out      io.Writer
	together *sync.Mutex
}

func (p *prefixed) Write(line []byte) (int, error) {
	p.together.Lock()
	defer p.together.Unlock()
	if _, err := p.out.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
