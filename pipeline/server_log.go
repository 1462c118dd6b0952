package pipeline

import (
	"fmt"
	"log/slog"
	"strings"
)

// serverLogger takes the embedded server's lines into slog. Its notices are
// for those who debug it; warnings and errors are for the operator.
type serverLogger struct {
	log   *slog.Logger
	fatal chan string
	// broken has a value once the server has given up writing.
	broken chan struct{}
}

func newServerLogger(log *slog.Logger) *serverLogger {
	return &serverLogger{log: log.With("part", "nats-server"), fatal: make(chan string, 1), broken: make(chan struct{}, 1)}
}

func (l *serverLogger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }

// Errorf also notices what the server tells nobody else: that a stream takes no more
// messages because one could not be written, or that JetStream has been switched off for
// want of room (2.15). Both last until it is started again.
func (l *serverLogger) Errorf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Error(line)
	if strings.Contains(line, "Critical write error") || strings.Contains(line, "will be DISABLED") {
		select {
		case l.broken <- struct{}{}:
		default:
		}
	}
}

// Fatalf does not end the process: a server that cannot start is its
// starter's to report.
func (l *serverLogger) Fatalf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	select {
	case l.fatal <- line:
	default:
		l.log.Error(line)
	}
}
