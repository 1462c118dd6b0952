package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The headers of a schedule. nats.go's WithScheduleAt cuts the time to whole
// seconds, so they are written here.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	headerTTL            = "Nats-TTL"
)

// SetTimer makes a service be woken at timer.Due with the timer as its work;
// one of the same name is replaced. JetStream keeps it: it fires once, up to
// 0.3 s late, after a restart as well, and at once when it is overdue.
//
// Found by trial on nats-server 2.15.2: publishing on a schedule's subject
// replaces it (the server adds a rollup of the subject); the message that
// fires carries the payload and our headers, passes the stream's transform
// like any other, so the target is WorkSubject, and removes the schedule.
func (p *Pipeline) SetTimer(ctx context.Context, service int, timer Timer) error {
	message := nats.NewMsg(TimerSubject(service, timer.Name))
	message.Data = Encode(Work{Version: p.schema, Service: service, Timer: &timer})
	message.Header.Set(headerSchedule, "@at "+timer.Due.UTC().Format(time.RFC3339Nano))
	message.Header.Set(headerScheduleTarget, WorkSubject(service))
	// The stream's MaxAge of 7 d would remove a later timer before it fires.
	message.Header.Set(headerTTL, "never")
	if _, err := p.timers.store(ctx, message); err != nil {
		return fmt.Errorf("set the timer %s of service %d: %w", timer.Name, service, err)
	}
	return nil
}

// CancelTimer removes a timer; one that is not set is no error. A timer that
// is firing just now may still come: its generation tells it apart.
func (p *Pipeline) CancelTimer(ctx context.Context, service int, name string) error {
	err := persist(ctx, func(ctx context.Context) error {
		return p.streams[StreamWork].Purge(ctx, jetstream.WithPurgeSubject(TimerSubject(service, name)))
	})
	if err != nil {
		return fmt.Errorf("cancel the timer %s of service %d: %w", name, service, err)
	}
	return nil
}
