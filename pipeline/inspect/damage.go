package inspect

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Damage is what BucketState and StreamFlow lack of each other. NATS drops the messages that it cannot read, and what is left looks whole.
type Damage struct {
	// Records are the services that have not ended according to their history and that have no record.
	Records []int
	// Histories are the services whose history ends before what they have published.
	Histories []int
}

// Damage compares the records with the history. A service that changes meanwhile may be in it.
func (i *Inspector) Damage(ctx context.Context) (Damage, error) {
	history := i.core.Stream(pipeline.StreamFlow)
	info, err := history.Led(ctx)
	if err != nil {
		return Damage{}, err
	}
	last := map[int]string{} // each service's last state in the history
	err = history.EachNewest(ctx, pipeline.SubjectsFlowStates, func(message js.Message) {
		if transition, err := pipeline.ReadTransition(message); err == nil {
			last[transition.Service] = transition.New
		}
	})
	if err != nil {
		return Damage{}, fmt.Errorf("read the services' last transitions: %w", err)
	}
	var damage Damage
	differ := map[int]pipeline.Record{} // services whose history ends with another state
	unreadable, err := i.records.CheckRecords(ctx, func(service int, record pipeline.Record) {
		state, has := last[service]
		since := spec.Since(record.State.Service)
		// What a service publishes first is number 1: one that was taken over from OneFlow has published nothing yet.
		emptied := info.State.Msgs == 0 && record.Outbox.First > 1 && !since.IsZero() && time.Since(since) < info.Config.MaxAge
		switch {
		case record.Deleted:
		case emptied:
			damage.Histories = append(damage.Histories, service)
		case has && state != record.State.Service.State().String():
			differ[service] = record
		}
		delete(last, service)
	})
	maps.DeleteFunc(last, func(service int, state string) bool {
		return state == pipeline.Deleted || slices.Contains(unreadable, service)
	})
	damage.Records = slices.Sorted(maps.Keys(last))
	for service, record := range differ {
		// OneFlow, or a restored database, may have set the state: then all that the service has published is there.
		number, failed := i.history.LastTransition(ctx, service)
		if err = cmp.Or(err, failed); number+1 < record.Outbox.First {
			damage.Histories = append(damage.Histories, service)
		}
	}
	slices.Sort(damage.Histories)
	return damage, err
}
