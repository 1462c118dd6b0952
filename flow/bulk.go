package flow

import (
	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// bulk is how much of a service the limits bound that are for all its roles together.
type bulk struct{ vms, schedules, bytes int }

func bulkOf(body spec.Body) bulk {
	text, _ := body.Text() // what cannot be written is found when it is stored
	b := bulk{bytes: len(text)}
	for _, role := range body.Roles {
		b.vms += role.Cardinality
		if raw.KindOf(role.ScheduledPolicies) == raw.KindArray {
			b.schedules += raw.Count(role.ScheduledPolicies)
		}
	}
	return b
}

// check returns the limit that was exceeded by what was added to a service.
func (b bulk) check(before bulk) error {
	for _, each := range []struct {
		what            string
		now, was, limit int
	}{
		{"VMs in its roles together", b.vms, before.vms, spec.MaxVMs},
		{"scheduled policies in its roles together", b.schedules, before.schedules, spec.MaxSchedules},
		{"bytes in its document", b.bytes, before.bytes, spec.MaxBody},
	} {
		if each.now > each.limit && each.now > each.was {
			return refuse(RefusedInput, "the service would have %d %s; at most %d are possible", each.now, each.what, each.limit)
		}
	}
	return nil
}
