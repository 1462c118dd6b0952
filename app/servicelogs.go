package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/history"
)

// serviceLogs writes what happens to each service into a file of its own, where OpenNebula's onelog looks for OneFlow's. What
// happens while the process is down is in the history only.
type serviceLogs struct {
	folder string
	logger *slog.Logger
	done   sync.WaitGroup
}

// startServiceLogs begins with what happens from now on, and goes on until release.
func startServiceLogs(ctx context.Context, folder string, pipe *pipeline.Pipeline, logger *slog.Logger) (release func(context.Context) error, err error) {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("create the folder for the services' logs: %w (--api-service-log-dir names it)", err)
	}
	happened := history.New(pipe)
	last, err := happened.LastTransitionSequence(ctx)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	reader, err := happened.ReadTransitions(life, -1, last)
	if err != nil {
		stop()
		return nil, fmt.Errorf("subscribe to the transitions of services for their logs: %w", err)
	}
	l := &serviceLogs{folder: folder, logger: logger}
	l.done.Go(func() {
		defer reader.Stop()
		l.follow(life, reader)
	})
	return func(context.Context) error { stop(); l.done.Wait(); return nil }, nil
}

func (l *serviceLogs) follow(ctx context.Context, reader *history.Reader) {
	for {
		_, transition, err := reader.Next(ctx)
		if err != nil {
			return
		}
		if err := l.write(transition); err != nil {
			l.logger.Warn("a line of a service's log could not be written", "service", transition.Service, "error", err)
		}
	}
}

// write appends a line as OneFlow lays it out: Mon Feb 27 06:02:30 2012 [I]: [SER] message.
func (l *serviceLogs) write(t pipeline.Transition) error {
	severity, component := "I", map[string]string{"service": "SER", "role": "ROL"}[t.Kind]
	if strings.HasPrefix(t.New, "FAILED") || t.New == "WARNING" {
		severity = "E"
	}
	if component == "" {
		component = "LCM"
	}
	file, err := os.OpenFile(filepath.Join(l.folder, strconv.Itoa(t.Service)+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "%s [%s]: [%s] %s\n", t.Time.Local().Format("Mon Jan 02 15:04:05 2006"), severity, component,
		strings.Join(strings.Fields(Sentence(t)), " "))
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
