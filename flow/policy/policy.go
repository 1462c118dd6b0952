package policy

import (
	"encoding/json"
	"math"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// Adjustment is an elasticity or scheduled policy as far as decisions need it. What
// another server wrote is read as leniently as it may have been written.
type Adjustment struct {
	Type          string
	Adjust        int
	MinAdjustStep int
	// Cooldown is in seconds; nil means the role's.
	Cooldown *int
	// LastEval is when the policy was last looked at, in unix seconds; 0 for never.
	LastEval int64

	// Expression, Period (seconds), PeriodNumber and TrueEvals are an elasticity policy's.
	Expression   string
	Period       int
	PeriodNumber int
	TrueEvals    int

	// Recurrence and StartTime are a scheduled policy's.
	Recurrence string
	StartTime  json.RawMessage
}

// The types of policy: by how much a cardinality is changed.
const (
	changeBy        = "CHANGE"
	changeTo        = "CARDINALITY"
	changeByPercent = "PERCENTAGE_CHANGE"
)

// Adjustments reads a role's policies; what is none is an empty one, which never
// asks for anything. Of more than MaxPolicies, which only another writer of the document
// can have put there, those at the end are left out.
func Adjustments(text json.RawMessage) []Adjustment {
	if !raw.Filled(text) {
		return nil
	}
	elements := raw.Elements(text)
	elements = elements[:min(len(elements), spec.MaxPolicies)]
	policies := make([]Adjustment, len(elements))
	for i, element := range elements {
		policies[i] = policyOf(raw.Attributes(element))
	}
	return policies
}

func policyOf(given raw.Object) Adjustment {
	whole := func(name string) int {
		number, _ := raw.Whole(given[name])
		return number
	}
	read := Adjustment{
		Type: raw.Text(given["type"]), Adjust: whole("adjust"), MinAdjustStep: whole("min_adjust_step"),
		LastEval: int64(whole("last_eval")), Expression: raw.Text(given["expression"]), Period: whole("period"),
		PeriodNumber: whole("period_number"), TrueEvals: whole("true_evals"),
		Recurrence: raw.Text(given["recurrence"]), StartTime: given["start_time"],
	}
	if cooldown, has := raw.Whole(given["cooldown"]); has {
		read.Cooldown = &cooldown
	}
	return read
}

// With is a role's policies with attributes of some of them set.
func With(text json.RawMessage, indexes []int, set map[string]any) json.RawMessage {
	elements := raw.Elements(text)
	for _, index := range indexes {
		changed := raw.Attributes(elements[index])
		if changed == nil {
			continue // no policy: another server's
		}
		for name, value := range set {
			changed[name] = raw.Marshal(value)
		}
		elements[index] = changed.JSON()
	}
	return raw.Marshal(elements)
}

// ForgetTrueEvals has the role's elasticity policies start to count anew, as
// OneFlow does when a role begins to scale.
func ForgetTrueEvals(role *spec.Role) {
	elements := raw.Elements(role.ElasticityPolicies)
	counted := false
	for i, element := range elements {
		evaluated := raw.Attributes(element)
		if _, has := evaluated["true_evals"]; has {
			delete(evaluated, "true_evals")
			elements[i], counted = evaluated.JSON(), true
		}
	}
	if counted {
		role.ElasticityPolicies = raw.Marshal(elements)
	}
}

// percentage is a part of the cardinality, rounded towards none but at least
// one and the policy's step.
func percentage(cardinality int, by Adjustment) int {
	if by.Adjust == 0 {
		return 0
	}
	part := int(math.Abs(float64(cardinality) * float64(by.Adjust) / 100))
	change := max(1, part, by.MinAdjustStep)
	if by.Adjust < 0 {
		return -change
	}
	return change
}

// Cardinality is the cardinality that the policy asks of the role, within the
// role's limits. A role that was forced beyond a limit is not taken further
// out, and comes back by the policy's steps.
func (by Adjustment) Cardinality(role *spec.Role) int {
	wanted := role.Cardinality
	switch by.Type {
	case changeBy:
		wanted += by.Adjust
	case changeTo:
		wanted = by.Adjust
	case changeByPercent:
		wanted += percentage(role.Cardinality, by)
	}
	lowest, highest := 0, max(role.Cardinality, wanted)
	if role.MinVMs != nil {
		lowest = min(*role.MinVMs, role.Cardinality)
	}
	if role.MaxVMs != nil {
		highest = max(*role.MaxVMs, role.Cardinality)
	}
	return max(0, lowest, min(wanted, highest, max(role.Cardinality, spec.MaxVMs)))
}
