package pipeline

import (
	"fmt"
	"log/slog"
)

// serverLogger takes the embedded server's lines into slog. Its notices are
// for those who debug it; warnings and errors are for the operator.
type serverLogger struct {
	log   *slog.Logger
	fatal chan string
}

func newServerLogger(log *slog.Logger) *serverLogger {
	return &serverLogger{log: log.With("part", "nats-server"), fatal: make(chan string, 1)}
}

func (l *serverLogger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLogger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }

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
