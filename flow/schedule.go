package flow

import (
	"fmt"
	"time"

	"github.com/adhocore/gronx"
)

// DeadlineSchedule is the timer of the scheduled policy that is due next.
const DeadlineSchedule = "schedule"

// nextStart is the policy's first start behind the time that it was last looked
// at; false if there is none. Times without a zone are the server's, as are
// cron's: now carries it.
func (by policy) nextStart(now time.Time) (time.Time, bool) {
	last := time.Unix(by.LastEval, 0).In(now.Location())
	if by.Recurrence != "" {
		start, err := gronx.NextTickAfter(by.Recurrence, last, false)
		return start, err == nil
	}
	start, err := ParseStartTime(by.StartTime, now.Location())
	return start, err == nil && start.After(last)
}

// runSchedules has the roles scale whose scheduled policies have come due. A
// policy is due when its start lies behind the time it was last looked at: so
// it fires once, and also when nobody was there at the time. When it is seen
// for the first time, what lies behind is none of its business.
func (a autoscaler) runSchedules() {
	left := MaxSchedules // others than the API may have written more
	for i := range a.roles() {
		role := &a.roles()[i]
		a.noticeSchedules(role)
		for j, each := range policiesOf(role.ScheduledPolicies) {
			if left--; left < 0 {
				return
			}
			start, has := each.nextStart(a.now)
			if !has || start.After(a.now) || !a.scaler.mayAdjust(role) {
				continue
			}
			a.lookedAt(role, j)
			reason := fmt.Sprintf("scheduled policy %d was due at %s", j, start.Format(time.RFC3339))
			if a.scaler.adjust(role, role.adjusted(each), each.Cooldown, reason) {
				break
			}
		}
	}
}

// noticeSchedules notes since when the role has its scheduled policies.
func (a autoscaler) noticeSchedules(role *Role) {
	var unseen []int
	for i, each := range policiesOf(role.ScheduledPolicies) {
		if each.LastEval == 0 {
			unseen = append(unseen, i)
		}
	}
	if len(unseen) > 0 {
		a.lookedAt(role, unseen...)
	}
}

func (a autoscaler) lookedAt(role *Role, policies ...int) {
	role.ScheduledPolicies = withPolicies(role.ScheduledPolicies, policies, map[string]any{"last_eval": a.now.Unix()})
}

// Overdue reports whether a service that rests should have done something by now:
// a schedule was missed, or a role has stayed below its minimum. Its timer has
// been lost, or another server has left it so.
func Overdue(service Service, now time.Time) bool {
	if state := service.State(); state != ServiceRunning && state != ServiceWarning {
		return false
	}
	for i := range service.Body.Roles {
		role := &service.Body.Roles[i]
		if role.belowMinimum() {
			return true
		}
		for _, each := range policiesOf(role.ScheduledPolicies) {
			if each.LastEval == 0 {
				return true
			}
		}
	}
	next, has := service.nextSchedule(now)
	return has && next.Before(now)
}
