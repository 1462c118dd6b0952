package work

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// The headers of a schedule. nats.go's WithScheduleAt cuts the time to whole
// seconds, so they are written here.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	headerTTL            = "Nats-TTL"
)

// Timers wake services at a time.
type Timers struct {
	core   *js.Client
	schema int
}

// NewTimers returns the timers of a pipeline.
func NewTimers(p *pipeline.Pipeline) *Timers { return &Timers{p.Client, p.Schema()} }

// SetTimer makes a service be woken at timer.Due with the timer as its work; one of the same name
// is replaced. JetStream keeps it: it fires once, up to 0.3 s late, after a restart as well, and at
// once when it is overdue.
//
// Found by trial on nats-server 2.15.2: publishing on a schedule's subject replaces it (the server
// adds a rollup of the subject); the message that fires carries the payload and our headers, passes
// the stream's transform like any other, so the target is WorkSubject, and removes what is stored
// on the schedule's subject. A timer that replaces one which fires at that moment is removed with
// it: who receives one of an older generation sets the newer again.
func (t *Timers) SetTimer(ctx context.Context, service int, timer pipeline.Timer) error {
	message := nats.NewMsg(pipeline.TimerSubject(service, timer.Name))
	message.Data = pipeline.Encode(pipeline.Work{Version: t.schema, Service: service, Timer: &timer})
	message.Header.Set(headerSchedule, "@at "+timer.Due.UTC().Format(time.RFC3339Nano))
	message.Header.Set(headerScheduleTarget, pipeline.WorkSubject(service))
	// The stream's MaxAge of 7 d would remove a later timer before it fires.
	message.Header.Set(headerTTL, "never")
	if _, err := t.core.Stream(pipeline.StreamWork).Commit(ctx, message); err != nil {
		return fmt.Errorf("set the timer %s of service %d: %w", timer.Name, service, err)
	}
	return nil
}

// CancelTimer removes a timer; one that is not set is no error. A timer that
// is firing just now may still come: its generation tells it apart.
func (t *Timers) CancelTimer(ctx context.Context, service int, name string) error {
	err := t.core.Stream(pipeline.StreamWork).Purge(ctx, jetstream.WithPurgeSubject(pipeline.TimerSubject(service, name)))
	if err != nil {
		return fmt.Errorf("cancel the timer %s of service %d: %w", name, service, err)
	}
	return nil
}
