package app

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
)

// Log is where a process's log goes, and how much of it.
type Log struct {
	*slog.Logger
	level *slog.LevelVar
}

// NewLog makes the log that the configuration asks for: text, one JSON object a line, or lines for journald, which has the time
// and the level for itself.
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
		options.ReplaceAttr = func(groups []string, attribute slog.Attr) slog.Attr {
			if len(groups) == 0 && attribute.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attribute
		}
		handler = slog.NewTextHandler(journal{out}, options)
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

// format is the one asked for; auto means journal where systemd has connected the output to its journal.
func format(asked string) string {
	if asked == "auto" && os.Getenv("JOURNAL_STREAM") != "" {
		return "journal"
	}
	return asked
}

// journal writes lines that begin with a priority as sd-daemon(3) defines it, by which `journalctl -p warning` finds them, in the
// place of the level with which slog begins a line without a time.
type journal struct{ out io.Writer }

// Write is io.Writer's; slog writes a line at a time.
func (j journal) Write(line []byte) (int, error) {
	first, rest, _ := bytes.Cut(line, []byte(" "))
	var level slog.Level
	_ = level.UnmarshalText(bytes.TrimPrefix(first, []byte("level="))) // slog has written it
	priority := "<7>"
	switch {
	case level >= slog.LevelError:
		priority = "<3>"
	case level >= slog.LevelWarn:
		priority = "<4>"
	case level >= slog.LevelInfo:
		priority = "<6>"
	}
	if _, err := j.out.Write(append([]byte(priority), rest...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
