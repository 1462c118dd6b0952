package opennebula

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// ScheduleAction has oned do something to a VM at a time (one.vm.schedadd), and
// returns the scheduled action's id. Args belongs to the action, such as a
// snapshot's name; empty for none.
func (s scheduledCalls) ScheduleAction(ctx context.Context, vm int, action, args string, at time.Time) (int, error) {
	text := fmt.Sprintf("SCHED_ACTION = [ACTION = %s,TIME = %d", action, at.Unix())
	if args != "" {
		text += fmt.Sprintf(`,ARGS = "%s"`, quoteTemplate.Replace(args))
	}
	return s.callID(ctx, "one.vm.schedadd", vm, text+"]")
}

// quoteTemplate makes a text fit for between the quotes of template text.
var quoteTemplate = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// UnscheduleAction takes a scheduled action back (one.vm.scheddelete).
func (s scheduledCalls) UnscheduleAction(ctx context.Context, vm, action int) error {
	return s.do(ctx, "one.vm.scheddelete", vm, action)
}

// ScheduledAction is something that a VM is to do, or has done, at a time.
type ScheduledAction struct {
	ID     int
	Action string
	Args   string
	// Time is in unix seconds.
	Time int64
}

// ScheduledActions lists a VM's scheduled actions, those that were carried out
// included (one.vm.info).
func (s scheduledCalls) ScheduledActions(ctx context.Context, vm int) ([]ScheduledAction, error) {
	return object(ctx, s.caller, readScheduled, "one.vm.info", vm, false)
}

func readScheduled(r *onexml.Reader) (actions []ScheduledAction) {
	r.At(func() {
		var a ScheduledAction
		r.Each(func(name []byte) {
			switch string(name) {
			case "ID":
				a.ID = r.Int()
			case "ACTION":
				a.Action = r.String()
			case "ARGS":
				a.Args = r.String()
			case "TIME":
				a.Time = int64(r.Int())
			}
		})
		actions = append(actions, a)
	}, "TEMPLATE", "SCHED_ACTION")
	return actions
}
