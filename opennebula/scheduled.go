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
