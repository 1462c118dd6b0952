// Package inspect reads how all of Flowjet is doing from what NATS holds and hears. It changes
// nothing, and works while no worker, bridge, API or oned is there.
//
//	inspect.go   services by state for metrics, and NATS's clock and storage
//	status.go    the live workers and what waits for them: what all views share
//	overview.go  everything else: `flowjet status` and `flowjet doctor`
//	streams.go   streams, and what is wrong with them
//	why.go       why a service is in its state
//	tail.go      the last messages of streams, and those that come
package inspect

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/deliveries"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/presence"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Inspector reads how Flowjet is doing.
type Inspector struct {
	pipe       *pipeline.Pipeline
	core       *js.Client
	records    *work.Records
	letters    *deadletters.Letters
	deliveries *deliveries.Deliveries
}

// New returns an inspector of a pipeline.
func New(p *pipeline.Pipeline) *Inspector {
	return &Inspector{p, p.Client, work.NewRecords(p), deadletters.New(p), deliveries.New(p)}
}

// Observe begins to follow the workers and processes; all of them are known after a
// heartbeat's time. Stop ends it.
func (i *Inspector) Observe() (*Observer, error) {
	observer, err := work.Observe(i.pipe)
	if err != nil {
		return nil, err
	}
	processes, err := presence.Follow(i.pipe)
	if err != nil {
		observer.Stop()
		return nil, err
	}
	return &Observer{observer, i, processes}, nil
}

// ServerTime is the clock of the NATS server that answers.
func (i *Inspector) ServerTime(ctx context.Context) (time.Time, error) {
	info, err := i.core.Stream(pipeline.StreamWork).Info(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask NATS for its time: %w", err)
	}
	return info.TimeStamp, nil
}

// Storage is how many bytes of JetStream's storage are used, and how many there
// may be; 0 or less for no limit.
func (i *Inspector) Storage(ctx context.Context) (used uint64, most int64, err error) {
	info, err := i.pipe.JetStream().AccountInfo(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("ask NATS for the account's storage: %w", err)
	}
	return info.Store, info.Limits.MaxStore, nil
}

// list is never null in JSON.
func list[T any](items []T) []T { return append([]T{}, items...) }

// timeOf is nil for no time, so that JSON leaves it out.
func timeOf(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// stuckAfter is how long a service may be on its way to another state.
const stuckAfter = 30 * time.Minute

// Stuck reports whether a service has been on its way to another state for too long.
func Stuck(service spec.Service, now time.Time) bool {
	state, since := service.State(), spec.Since(service)
	return state.Waiting() && state != spec.ServiceCooldown && since != nil && now.Sub(*since) > stuckAfter
}

// ServiceCounts counts the services that have not ended.
type ServiceCounts struct {
	// States has every state there is, with 0 where no service is in it, and no other: what a
	// document has for a state may be any number.
	States map[spec.ServiceState]int
	// Stuck is how many are stuck, as Stuck has it.
	Stuck int
}

// CountServices reads the records of all services.
func CountServices(ctx context.Context, p *pipeline.Pipeline) (ServiceCounts, error) {
	counts := ServiceCounts{States: map[spec.ServiceState]int{}}
	for _, state := range spec.ServiceStates() {
		counts.States[state] = 0
	}
	now := time.Now()
	err := work.NewRecords(p).EachRecord(ctx, func(_ int, record pipeline.Record) {
		if record.Deleted {
			return
		}
		state := record.State.Service.State()
		if _, known := counts.States[state]; known {
			counts.States[state]++
		}
		if Stuck(record.State.Service, now) {
			counts.Stuck++
		}
	})
	return counts, err
}
