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
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// startServiceLogs begins with what happens from now on. Without a folder there are none.
func (a *App) startServiceLogs(ctx context.Context) error {
	folder := a.config.API.ServiceLogDir
	if folder == "" {
		return nil
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return fmt.Errorf("make the folder for the services' logs: %w (--api-service-log-dir names it)", err)
	}
	happened := history.New(a.pipe)
	last, err := happened.LastTransitionSequence(ctx)
	if err != nil {
		return err
	}
	life, stop := context.WithCancel(context.Background())
	reader, err := happened.ReadTransitions(life, -1, last)
	if err != nil {
		stop()
		return fmt.Errorf("follow what happens to services for their logs: %w", err)
	}
	l := &serviceLogs{folder: folder, logger: a.logger.With("part", "service-logs"), stop: stop}
	l.done.Go(func() {
		defer reader.Stop()
		l.follow(life, reader)
	})
	a.onStop(func(context.Context) error { l.stop(); l.done.Wait(); return nil })
	return nil
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
