package consumers

import (
	"context"
	"slices"

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
	i.strangers, i.strangersOf = i.record.State.Strangers(i.facts), owner
	for _, id := range i.strangers {
		i.worker.config.Logger.Warn("a node of the service is not its VM: another's, or without the service's id; it is left alone",
			"service", i.service, "vm", id, "owner", i.facts[id].Owner.UName)
	}
	return nil
}
