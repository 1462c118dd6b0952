package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/history"
)

// narrator writes a line for each thing that happens, as it is published.
type narrator struct {
	mutex sync.Mutex
	out   io.Writer
}

func startNarrator(conn *nats.Conn, out io.Writer) (release func(context.Context) error, err error) {
	n, subs := &narrator{out: out}, []*nats.Subscription(nil)
	handlers := map[string]nats.MsgHandler{
		pipeline.SubjectsFlow: n.transition,
		pipeline.SubjectsONE:  n.event,
		pipeline.SubjectsDead: n.dead,
	}
	for subject, handler := range handlers {
		sub, err := conn.Subscribe(subject, handler)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", subject, err)
		}
		subs = append(subs, sub)
	}
	return func(context.Context) error {
		for _, sub := range subs {
			if err := sub.Unsubscribe(); err != nil {
				return fmt.Errorf("stop watching %s: %w", sub.Subject, err)
			}
		}
		return nil
	}, nil
}

func (n *narrator) line(at time.Time, format string, arguments ...any) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	fmt.Fprintf(n.out, "%s  %s\n", at.Local().Format("15:04:05.000"), fmt.Sprintf(format, arguments...))
}

// event tells the VM events of services only: an idle zone stays quiet.
func (n *narrator) event(msg *nats.Msg) {
	var event pipeline.Event
	if json.Unmarshal(msg.Data, &event) != nil || event.Version == 0 {
		return
	}
	switch {
	case event.VM != nil && event.VM.Service >= 0:
		n.line(event.Heard, "event       %s (service %d)", event.Title(), event.VM.Service)
	case event.Ready != nil:
		n.line(event.Heard, "event       %s READY=%t", event.Title(), *event.Ready)
	}
}

func (n *narrator) transition(msg *nats.Msg) {
	var t pipeline.Transition
	if json.Unmarshal(msg.Data, &t) != nil || t.Version == 0 {
		return
	}
	n.line(t.Time, "service %-3d %s", t.Service, Sentence(t))
}

func (n *narrator) dead(msg *nats.Msg) {
	n.line(time.Now(), "dead letter %s: %s", msg.Subject, msg.Header.Get(pipeline.HeaderReason))
}

// Sentence says in one line what a transition is and what caused it.
func Sentence(t pipeline.Transition) string {
	what, id := "", "" // the service itself needs no name, and networks and routers may have no id yet
	if t.ID != nil {
		id = fmt.Sprintf(" %d", *t.ID)
	}
	switch {
	case t.Kind == "vm" && t.VM != nil:
		what = fmt.Sprintf("role %s: VM %d ", t.Role, *t.VM)
	case t.Kind == "role":
		what = fmt.Sprintf("role %s: ", t.Role)
	case t.Kind == "network":
		what = fmt.Sprintf("network %s%s: ", t.Network, id)
	case t.Kind == "router":
		what = fmt.Sprintf("role %s: virtual router%s: ", t.Role, id)
	}
	if t.Old != "" {
		what += t.Old + " -> "
	}
	what += t.New
	if t.Reason != "" {
		what += " (" + t.Reason + ")"
	}
	return fmt.Sprintf("%-52s [%s %s]", what, t.Cause.Kind, t.Cause.ID)
}

// serviceLogs writes what happens to each service into a file of its own, where OpenNebula's onelog looks for OneFlow's. What
// happens while the process is down is in the history only.
type serviceLogs struct {
	folder string
	logger *slog.Logger
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
	var done sync.WaitGroup
	done.Go(func() {
		defer reader.Stop()
		for {
			_, transition, err := reader.Next(life)
			if err != nil {
				return
			}
			if err := l.write(transition); err != nil {
				l.logger.Warn("a line of a service's log could not be written", "service", transition.Service, "error", err)
			}
		}
	})
	return func(context.Context) error { stop(); done.Wait(); return nil }, nil
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
