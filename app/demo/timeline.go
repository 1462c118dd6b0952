package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/pipeline"
)

// timeline collects what the workers tell about services.
type timeline struct {
	conn *nats.Conn

	mutex   sync.Mutex
	all     []pipeline.Transition
	seen    int // transitions that waitFor has passed
	changed chan struct{}
}

func watch(url, keyFile string) (*timeline, error) {
	options := []nats.Option{nats.Name("flowjet demo"), nats.Timeout(2 * time.Second)}
	if keyFile != "" {
		key, err := nats.NkeyOptionFromSeed(keyFile)
		if err != nil {
			return nil, fmt.Errorf("read the NATS key %s: %w", keyFile, err)
		}
		options = append(options, key)
	}
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w: is `flowjet up --sim` running, and is --data-dir its data folder?", url, err)
	}
	t := &timeline{conn: conn, changed: make(chan struct{}, 1)}
	if _, err := conn.Subscribe(pipeline.SubjectsFlow, t.add); err != nil {
		conn.Close()
		return nil, fmt.Errorf("watch %s: %w", pipeline.SubjectsFlow, err)
	}
	if err := conn.FlushTimeout(5 * time.Second); err != nil {
		conn.Close()
		return nil, fmt.Errorf("watch %s: %w", pipeline.SubjectsFlow, err)
	}
	return t, nil
}

func (t *timeline) add(msg *nats.Msg) {
	var transition pipeline.Transition
	if json.Unmarshal(msg.Data, &transition) != nil {
		return
	}
	t.mutex.Lock()
	t.all = append(t.all, transition)
	t.mutex.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// waitFor returns when the service has come to the state, at a point of its history that no earlier call has passed.
func (t *timeline) waitFor(ctx context.Context, service int, state string) error {
	for {
		if t.pass(service, state) {
			return nil
		}
		select {
		case <-t.changed:
		case <-ctx.Done():
			return fmt.Errorf("service %d did not reach %s: %w", service, state, ctx.Err())
		}
	}
}

func (t *timeline) pass(service int, state string) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for t.seen < len(t.all) {
		transition := t.all[t.seen]
		t.seen++
		if transition.Service == service && transition.Kind == "service" && transition.New == state {
			return true
		}
	}
	return false
}

// print writes the service's history with the milliseconds since it began.
func (t *timeline) print(out io.Writer, service int) error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	fmt.Fprintf(out, "\nThe timeline of service %d, in milliseconds:\n\n", service)
	var began time.Time
	for _, transition := range t.all {
		if transition.Service != service {
			continue
		}
		if began.IsZero() {
			began = transition.Time
		}
		since := transition.Time.Sub(began)
		if _, err := fmt.Fprintf(out, "%9.1f  %s\n", float64(since.Microseconds())/1000, app.Sentence(transition)); err != nil {
			return err
		}
	}
	return nil
}
