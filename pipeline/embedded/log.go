package embedded

import (
	"fmt"
	"log/slog"
	"strings"
)

// logger writes the server's lines to slog: its notices at level debug, its
// warnings and errors at their own.
type logger struct {
	log   *slog.Logger
	fatal chan string
	// broken has a value once the server has given up writing.
	broken chan struct{}
}

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log.With("part", "nats-server"), fatal: make(chan string, 1), broken: make(chan struct{}, 1)}
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }

// Errorf also detects what the server reports nowhere else: that a stream takes no more
// messages because a write failed, or that JetStream was disabled because the disk is full
// (nats-server 2.15). Both last until the server is restarted.
func (l *logger) Errorf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Error(line)
	if strings.Contains(line, "Critical write error") || strings.Contains(line, "will be DISABLED") {
		select {
		case l.broken <- struct{}{}:
		default:
		}
	}
}

// Fatalf does not end the process: Start returns the line as its error.
func (l *logger) Fatalf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	select {
	case l.fatal <- line:
	default:
		l.log.Error(line)
	}
}
