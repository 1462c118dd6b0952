package flow

import (
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// DeadlineSchedule is the timer of the scheduled policy that is due next.
const DeadlineSchedule = "schedule"

// evaluateRole evaluates the role's policies in their order, up to the first that has it scale.
func (a autoscaler) evaluateRole(role *spec.Role, measures policy.Measures) {
	means, measured := measures.Roles[role.Name]
	if !measured {
		return
	}
	at := measures.At.Unix()
	for i, each := range policy.Adjustments(role.ElasticityPolicies) {
		if each.LastEval >= at || at < each.LastEval+int64(each.Period) {
			continue
		}
		condition, err := expression.Parse(each.Expression)
		if err != nil {
			continue // another server's; templates with it are refused
		}
		holds, written := condition.Evaluate(means)
		evals := 0
		if holds {
			evals = min(each.TrueEvals+1, max(each.PeriodNumber, 0))
		}
		role.ElasticityPolicies = policy.With(role.ElasticityPolicies, []int{i}, map[string]any{
			"last_eval": at, "true_evals": evals, "expression_evaluated": written[:min(len(written), expression.MaxLength)],
		})
		if !holds || evals < each.PeriodNumber {
			continue
		}
		if a.scaler.adjust(role, each.Cardinality(role), each.Cooldown, fmt.Sprintf("elasticity policy %d holds: %s", i, written[:min(len(written), expression.MaxLength)])) {
			return
		}
	}
}

// runSchedules has the roles scale whose scheduled policies have come due. A policy is due when its start lies behind
// the time it was last looked at: so it fires once, and also when nobody was there at the time. When it is seen for the
// first time, what lies behind is none of its business.
func (a autoscaler) runSchedules() {
	left := spec.MaxSchedules // others than the API may have written more
	for role := range a.Service.Body.EachRole() {
		a.noticeSchedules(role)
		for j, each := range policy.Adjustments(role.ScheduledPolicies) {
			if left--; left < 0 {
				return
			}
			start, has := each.NextStart(a.now)
			if !has || start.After(a.now) || !a.scaler.mayAdjust(role) {
				continue
			}
			role.ScheduledPolicies = policy.With(role.ScheduledPolicies, []int{j}, map[string]any{"last_eval": a.now.Unix()})
			reason := fmt.Sprintf("scheduled policy %d was due at %s", j, start.Format(time.RFC3339))
			if a.scaler.adjust(role, each.Cardinality(role), each.Cooldown, reason) {
				break
			}
		}
	}
}

// noticeSchedules notes since when the role has its scheduled policies.
func (a autoscaler) noticeSchedules(role *spec.Role) {
	var unseen []int
	for i, each := range policy.Adjustments(role.ScheduledPolicies) {
		if each.LastEval == 0 {
			unseen = append(unseen, i)
		}
	}
	if len(unseen) > 0 {
		role.ScheduledPolicies = policy.With(role.ScheduledPolicies, unseen, map[string]any{"last_eval": a.now.Unix()})
	}
}
