package embedded

import (
	"fmt"
	"log/slog"
	"strings"
)

// logger writes the server's lines to slog: its notices at level debug, its warnings and errors at their own.
type logger struct {
	log   *slog.Logger
	fatal chan string
	// broken has a value once only a restart makes the server's streams go on.
	broken chan failure
}

// failure is why a server has to be restarted.
type failure int

const (
	cannotWrite  failure = iota // the disk was full, or took nothing
	damagedBlock                // the index of a stream promises messages that its block does not have
)

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log.With("part", "nats-server"), fatal: make(chan string, 1), broken: make(chan failure, 1)}
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }

// Warnf also detects that a block of a stream is damaged: until the server is restarted and
// has read what is left of it, the stream may take no more messages (nats-server 2.15).
func (l *logger) Warnf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Warn(line)
	if strings.Contains(line, "indexCacheBuf corrupt") {
		l.fails(damagedBlock)
	}
}

// Errorf also detects what the server reports nowhere else: that a stream takes no more
// messages because a write failed, or that JetStream was disabled because the disk is full
// (nats-server 2.15). Both last until the server is restarted.
func (l *logger) Errorf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Error(line)
	if strings.Contains(line, "Critical write error") || strings.Contains(line, "will be DISABLED") {
		l.fails(cannotWrite)
	}
}

func (l *logger) fails(why failure) {
	select {
	case l.broken <- why:
	default:
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
