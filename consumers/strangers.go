package consumers

import (
	"context"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// confirmStrangers asks the zone's leader about the nodes that are not the service's by what
// is known, before they are left alone: the service or its VMs may just have been given to
// another owner.
func (i *ingester) confirmStrangers(ctx context.Context) error {
	strangers := i.record.State.Strangers(i.facts)
	owner := i.record.State.Service.Owner.UID
	if len(strangers) == 0 || owner == i.strangersOf && slices.Equal(strangers, i.strangers) {
		return nil
	}
	for _, span := range opennebula.Spans(strangers) {
		if err := i.fetchSpan(ctx, i.actor.server().Confirmed(), span, i.facts); err != nil {
			return err
		}
	}
	i.strangers, i.strangersOf, i.strangersAt = i.record.State.Strangers(i.facts), owner, time.Now()
	for _, id := range i.strangers {
		i.worker.config.Logger.Warn("a node of the service is not a VM of the service: it belongs to another or lacks the service's id; it is left unchanged",
			"service", i.service, "vm", id, "owner", i.facts[id].Owner.UName)
	}
	return nil
}

// strangersFor is for how long a stranger's VM is taken for one before oned is asked again: there
// can be thousands of them in a document, and they matter only if they are given back.
const strangersFor = 10 * time.Minute

// knownStrangers are the strangers' VMs that oned need not be asked about yet.
func (i *ingester) knownStrangers() flow.Facts {
	if len(i.strangers) == 0 || i.strangersOf != i.record.State.Service.Owner.UID || time.Since(i.strangersAt) > strangersFor {
		return nil
	}
	known := flow.Facts{}
	for _, id := range i.strangers {
		if vm, has := i.facts[id]; has {
			known[id] = vm
		}
	}
	return known
}
