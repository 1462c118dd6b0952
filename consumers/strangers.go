package consumers

import (
	"context"
	"slices"
)

// confirmStrangers asks the zone's leader about the nodes that are not the service's by what
// is known, before they are left alone: the service or its VMs may just have been given to
// another owner.
func (l *lane) confirmStrangers(ctx context.Context) error {
	strangers := l.record.State.Strangers(l.facts)
	owner := l.record.State.Service.Owner.UID
	if len(strangers) == 0 || owner == l.strangersOf && slices.Equal(strangers, l.strangers) {
		return nil
	}
	for _, span := range spans(strangers) {
		if err := l.lookAt(ctx, l.server().Confirmed(), span, l.facts); err != nil {
			return err
		}
	}
	l.strangers, l.strangersOf = l.record.State.Strangers(l.facts), owner
	for _, id := range l.strangers {
		l.worker.config.Logger.Warn("a node of the service is not its VM: another's, or without the service's id; it is left alone",
			"service", l.service, "vm", id, "owner", l.facts[id].Owner.UName)
	}
	return nil
}
