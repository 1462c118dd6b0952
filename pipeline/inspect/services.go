package inspect

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

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
