package work

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Objects are VMs and networks with the services that they belong to. The kind of an object is vm or net.
type Objects struct {
	core   *js.Client
	bucket *js.Bucket
}

// NewObjects returns the objects of a pipeline.
func NewObjects(p *pipeline.Pipeline) *Objects {
	return &Objects{p.Client, p.Bucket(pipeline.BucketOwners)}
}

// The kinds of objects with owners, as in hook events.
const (
	OwnedVM      = "vm"
	OwnedNetwork = "net"
)

// Owner is an object with the service that it belongs to.
type Owner struct {
	Kind        string
	ID, Service int
}

// PutOwners stores the services of objects.
func (o *Objects) PutOwners(ctx context.Context, owners ...Owner) error {
	messages := make([]*nats.Msg, len(owners))
	for i, one := range owners {
		messages[i] = nats.NewMsg(pipeline.KeySubject(pipeline.BucketOwners, ownerKey(one.Kind, one.ID)))
		messages[i].Data = fmt.Append(nil, one.Service)
	}
	for _, result := range o.core.Stream(pipeline.StreamOf(pipeline.BucketOwners)).AppendEach(ctx, messages) {
		if result.Err != nil {
			return fmt.Errorf("store the services of %d VMs and networks: %w", len(owners), result.Err)
		}
	}
	return nil
}

// Owner returns the service that an object belongs to; false if none is known.
func (o *Objects) Owner(ctx context.Context, kind string, id int) (service int, known bool, err error) {
	defer errs.Wrap(&err, "look up the service of %s %d", kind, id)
	text, revision, err := o.bucket.Get(ctx, ownerKey(kind, id))
	if err != nil || revision == 0 {
		return 0, false, err
	}
	if service, err = strconv.Atoi(string(text)); err != nil {
		return 0, false, fmt.Errorf("%q is not the id of a service", text)
	}
	return service, true, nil
}

// ForgetOwner removes the owner of an object, once the object is gone.
func (o *Objects) ForgetOwner(ctx context.Context, kind string, id int) (err error) {
	defer errs.Wrap(&err, "delete the service of %s %d", kind, id)
	return o.bucket.Purge(ctx, ownerKey(kind, id), jetstream.PurgeTTL(pipeline.MarkerTTL))
}

func ownerKey(kind string, id int) string { return fmt.Sprintf("%s-%d", kind, id) }

// Owners returns all stored owners, kind
// by kind: vm or net -> id -> service. Entries that cannot be parsed are left out.
func (o *Objects) Owners(ctx context.Context) (all map[string]map[int]int, err error) {
	defer errs.Wrap(&err, "read the services of VMs and networks")
	all = map[string]map[int]int{}
	return all, o.bucket.Each(ctx, func(key string, value []byte) {
		kind, number, _ := strings.Cut(key, "-")
		id, keyErr := strconv.Atoi(number)
		service, valueErr := strconv.Atoi(string(value))
		if keyErr != nil || valueErr != nil {
			return
		}
		if all[kind] == nil {
			all[kind] = map[int]int{}
		}
		all[kind][id] = service
	})
}

// The headers of a schedule. nats.go's WithScheduleAt truncates the time to whole
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

// SetTimer makes a service be woken at timer.Due with the timer as its work; it replaces one of the same
// name. JetStream keeps it: it fires once, up to 0.3 s late, after a restart as well, and at
// once when it is overdue.
//
// Found by trial on nats-server 2.15.2: publishing on a schedule's subject replaces it (the server
// adds a rollup of the subject); the message that fires carries the payload and our headers, passes
// the stream's transform like any other, so the target is WorkSubject, and removes the message
// on the schedule's subject. A timer that replaces one which fires at that moment is removed with
// it: a worker that receives one of an older generation sets the newer again.
func (t *Timers) SetTimer(ctx context.Context, service int, timer pipeline.Timer) (err error) {
	defer errs.Wrap(&err, "set the timer %s of service %d", timer.Name, service)
	message := nats.NewMsg(pipeline.TimerSubject(service, timer.Name))
	message.Data = pipeline.Encode(pipeline.Work{Version: t.schema, Service: service, Timer: &timer})
	message.Header.Set(headerSchedule, "@at "+timer.Due.UTC().Format(time.RFC3339Nano))
	message.Header.Set(headerScheduleTarget, pipeline.WorkSubject(service))
	// The stream's MaxAge of 7 d would remove a later timer before it fires.
	message.Header.Set(headerTTL, "never")
	_, err = t.core.Stream(pipeline.StreamWork).Commit(ctx, message)
	return err
}

// CancelTimer removes a timer; a missing one is no error. A timer that
// is firing just now may still arrive: its generation tells it apart.
func (t *Timers) CancelTimer(ctx context.Context, service int, name string) (err error) {
	defer errs.Wrap(&err, "cancel the timer %s of service %d", name, service)
	return t.core.Stream(pipeline.StreamWork).Purge(ctx, jetstream.WithPurgeSubject(pipeline.TimerSubject(service, name)))
}
