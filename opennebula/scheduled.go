package opennebula

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// ScheduleAction has oned do something to a VM at a time (one.vm.schedadd), and
// returns the scheduled action's id. Args belongs to the action, such as a
// snapshot's name; empty for none.
func (s *Session) ScheduleAction(ctx context.Context, vm int, action, args string, at time.Time) (int, error) {
	text := fmt.Sprintf("SCHED_ACTION = [ACTION = %s,TIME = %d", action, at.Unix())
	if args != "" {
		text += fmt.Sprintf(`,ARGS = "%s"`, quoteTemplate.Replace(args))
	}
	return s.callID(ctx, "one.vm.schedadd", vm, text+"]")
}

// quoteTemplate makes a text fit for between the quotes of template text.
var quoteTemplate = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// UnscheduleAction takes a scheduled action back (one.vm.scheddelete).
func (s *Session) UnscheduleAction(ctx context.Context, vm, action int) error {
	return s.do(ctx, "one.vm.scheddelete", vm, action)
}

// ScheduledAction is something that a VM is to do, or has done, at a time.
type ScheduledAction struct {
	ID     int    `xml:"ID"`
	Action string `xml:"ACTION"`
	Args   string `xml:"ARGS"`
	// Time is in unix seconds.
	Time int64 `xml:"TIME"`
}

// ScheduledActions lists a VM's scheduled actions, those that were carried out
// included (one.vm.info).
func (s *Session) ScheduledActions(ctx context.Context, vm int) ([]ScheduledAction, error) {
	var found struct {
		Actions []ScheduledAction `xml:"TEMPLATE>SCHED_ACTION"`
	}
	if err := s.read(ctx, &found, "one.vm.info", vm, false); err != nil {
		return nil, err
	}
	return found.Actions, nil
}
