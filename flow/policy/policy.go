package policy

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/expression"
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

// Adjustments reads a role's policies; what is none is an empty one, which never asks for anything. Of more than
// MaxPolicies, which only another writer of the document can have put there, those at the end are left out.
func Adjustments(text json.RawMessage) []Adjustment {
	if !raw.Filled(text) {
		return nil
	}
	elements := raw.Elements(text)
	elements = elements[:min(len(elements), spec.MaxPolicies)]
	policies := make([]Adjustment, len(elements))
	for i, element := range elements {
		given := raw.Attributes(element)
		whole := func(name string) int {
			number, _ := raw.Whole(given[name])
			return number
		}
		policies[i] = Adjustment{
			Type: raw.Text(given["type"]), Adjust: whole("adjust"), MinAdjustStep: whole("min_adjust_step"),
			LastEval: int64(whole("last_eval")), Expression: raw.Text(given["expression"]), Period: whole("period"),
			PeriodNumber: whole("period_number"), TrueEvals: whole("true_evals"),
			Recurrence: raw.Text(given["recurrence"]), StartTime: given["start_time"],
		}
		if cooldown, has := raw.Whole(given["cooldown"]); has {
			policies[i].Cooldown = &cooldown
		}
	}
	return policies
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

// ForgetTrueEvals has the role's elasticity policies start to count anew, as OneFlow does when a role begins to scale.
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

// Cardinality is the cardinality that the policy asks of the role, within the role's limits. A role that was forced
// beyond a limit is not taken further out, and comes back by the policy's steps.
func (by Adjustment) Cardinality(role *spec.Role) int {
	wanted := role.Cardinality
	switch by.Type {
	case changeBy:
		wanted += by.Adjust
	case changeTo:
		wanted = by.Adjust
	case changeByPercent:
		part := int(math.Abs(float64(role.Cardinality) * float64(by.Adjust) / 100)) // rounded towards none, but at least one
		switch change := max(1, part, by.MinAdjustStep); {
		case by.Adjust < 0:
			wanted -= change
		case by.Adjust > 0:
			wanted += change
		}
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

// Measures are what was measured of one service's VMs in one pass of the autoscaler.
type Measures struct {
	// At is the pass; policies that were evaluated at it, or later, are not again.
	At time.Time `json:"at"`
	// Until is when it is too late to decide by them.
	Until time.Time `json:"until"`
	// Roles holds, by role and attribute in upper case, the means over the role's
	// running VMs. An attribute that no VM has is missing.
	Roles map[string]map[string]float64 `json:"roles"`
}

// Sample is one running VM's attributes, by name in upper case, each taken from
// the first place that has it: the user template, monitoring, the template, the VM.
type Sample map[string]float64

// MeasuredAttributes are the names, in upper case and each once, of what the elasticity policies of a service's roles
// ask for, by role; nil if no policy can be evaluated in the service's state. A document that was written past the API
// may ask for more than MaxMeasured: the rest is not measured.
func MeasuredAttributes(service spec.Service) map[string][]string {
	if state := service.State(); state != spec.ServiceRunning && state != spec.ServiceWarning {
		return nil
	}
	var wanted map[string][]string
	for _, role := range service.Body.Roles {
		var names []string
		for _, each := range Adjustments(role.ElasticityPolicies) {
			if condition, err := expression.Parse(each.Expression); err == nil {
				names = append(names, condition.Attributes()...)
			}
		}
		if names == nil {
			continue
		}
		slices.Sort(names)
		names = slices.Compact(names)
		names = names[:min(len(names), spec.MaxMeasured)]
		if wanted == nil {
			wanted = map[string][]string{}
		}
		wanted[role.Name] = names
	}
	return wanted
}

// Measure takes the means of what the service's policies ask for over its VMs
// for which there are samples: those that run. They are rounded to two digits.
func Measure(service spec.Service, samples map[int]Sample, at, until time.Time) Measures {
	measured := Measures{At: at, Until: until, Roles: map[string]map[string]float64{}}
	for role, names := range MeasuredAttributes(service) {
		means, vms := map[string]float64{}, service.RoleNodes(role)
		for _, name := range names {
			total, count := 0.0, 0.0
			for _, vm := range vms {
				if value, has := samples[vm][name]; has {
					total += value
					count++
				}
			}
			if mean := math.Round(total/count*100) / 100; math.Abs(mean) <= maxMean { // and not NaN, as that of none
				means[name] = mean
			}
		}
		measured.Roles[role] = means
	}
	return measured
}

// maxMean bounds what is taken for a measurement. A VM's owner writes what he likes into its
// user template: a sum of his figures may be infinite, which JSON does not have.
const maxMean = 1e18
