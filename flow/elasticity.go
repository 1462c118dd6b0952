package flow

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Measures are what was measured of one service's VMs in one pass of the
// autoscaler.
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

// MeasuredAttributes are the names, in upper case, of what the elasticity
// policies of a service's roles ask for, by role; nil if no policy can be
// evaluated in the service's state.
func MeasuredAttributes(service Service) map[string][]string {
	if state := service.State(); state != ServiceRunning && state != ServiceWarning {
		return nil
	}
	var wanted map[string][]string
	for _, role := range service.Body.Roles {
		var names []string
		for _, each := range policiesOf(role.ElasticityPolicies) {
			if expression, err := ParseExpression(each.Expression); err == nil {
				names = append(names, attributeNamesIn(expression)...)
			}
		}
		if names == nil {
			continue
		}
		if wanted == nil {
			wanted = map[string][]string{}
		}
		wanted[role.Name] = names
	}
	return wanted
}

// Measure takes the means of what the service's policies ask for over its VMs
// for which there are samples: those that run.
func Measure(service Service, samples map[int]Sample, at, until time.Time) Measures {
	measured := Measures{At: at, Until: until, Roles: map[string]map[string]float64{}}
	for role, names := range MeasuredAttributes(service) {
		means := map[string]float64{}
		for _, name := range names {
			if mean, has := meanOf(service.RoleNodes(role), samples, name); has {
				means[name] = mean
			}
		}
		measured.Roles[role] = means
	}
	return measured
}

// meanOf is rounded to two digits.
func meanOf(vms []int, samples map[int]Sample, name string) (float64, bool) {
	total, count := 0.0, 0
	for _, vm := range vms {
		if value, has := samples[vm][name]; has {
			total += value
			count++
		}
	}
	if count == 0 {
		return 0, false
	}
	return math.Round(total/float64(count)*100) / 100, true
}

func (a autoscaler) evaluate(measures Measures) {
	if a.state() != ServiceRunning && a.state() != ServiceWarning {
		return
	}
	a.runSchedules()
	for i := range a.roles() {
		if role := &a.roles()[i]; a.scaler.mayAdjust(role) {
			a.evaluateRole(role, measures)
		}
	}
	a.followRoles()
}

// followRoles takes the service to SCALING if policies have roles scale.
func (a autoscaler) followRoles() {
	if a.anyRole(RoleScaling) && a.state() != ServiceScaling {
		a.to(ServiceScaling)
	}
}

// evaluateRole evaluates the role's policies in their order, up to the first
// that has it scale.
func (a autoscaler) evaluateRole(role *Role, measures Measures) {
	means, measured := measures.Roles[role.Name]
	if !measured {
		return
	}
	at := measures.At.Unix()
	for i, each := range policiesOf(role.ElasticityPolicies) {
		if each.LastEval >= at || at < each.LastEval+int64(each.Period) {
			continue
		}
		expression, err := ParseExpression(each.Expression)
		if err != nil {
			continue // another server's; templates with it are refused
		}
		holds, written := expression.evaluate(means)
		evals := 0
		if holds {
			evals = min(each.TrueEvals+1, max(each.PeriodNumber, 0))
		}
		role.ElasticityPolicies = withPolicies(role.ElasticityPolicies, []int{i}, map[string]any{
			"last_eval": at, "true_evals": evals, "expression_evaluated": written,
		})
		if !holds || evals < each.PeriodNumber {
			continue
		}
		if a.scaler.adjust(role, role.adjusted(each), each.Cooldown, fmt.Sprintf("elasticity policy %d holds: %s", i, written)) {
			return
		}
	}
}

func attributeNamesIn(expression Expression) []string {
	switch e := expression.(type) {
	case Either:
		return append(attributeNamesIn(e.Left), attributeNamesIn(e.Right)...)
	case Both:
		return append(attributeNamesIn(e.Left), attributeNamesIn(e.Right)...)
	case Not:
		return attributeNamesIn(e.Of)
	case Group:
		return attributeNamesIn(e.Of)
	case Comparison:
		var names []string
		for _, operand := range []Operand{e.Left, e.Right} {
			if operand.Attribute != "" {
				names = append(names, strings.ToUpper(operand.Attribute))
			}
		}
		return names
	}
	return nil
}

func (e Either) evaluate(means map[string]float64) (bool, string) {
	left, leftText := e.Left.evaluate(means)
	right, rightText := e.Right.evaluate(means)
	return left || right, leftText + " || " + rightText
}

func (b Both) evaluate(means map[string]float64) (bool, string) {
	left, leftText := b.Left.evaluate(means)
	right, rightText := b.Right.evaluate(means)
	return left && right, leftText + " && " + rightText
}

func (n Not) evaluate(means map[string]float64) (bool, string) {
	of, text := n.Of.evaluate(means)
	return !of, "!" + text
}

func (g Group) evaluate(means map[string]float64) (bool, string) {
	of, text := g.Of.evaluate(means)
	return of, "(" + text + ")"
}

// evaluate is false where an attribute has no value.
func (c Comparison) evaluate(means map[string]float64) (bool, string) {
	left, leftKnown, leftText := c.Left.value(means)
	right, rightKnown, rightText := c.Right.value(means)
	text := leftText + " " + c.Operator + " " + rightText
	if !leftKnown || !rightKnown {
		return false, text
	}
	switch c.Operator {
	case "==":
		return left == right, text
	case "!=":
		return left != right, text
	case ">=":
		return left >= right, text
	case ">":
		return left > right, text
	case "<=":
		return left <= right, text
	}
	return left < right, text
}

// value is written as OneFlow writes it: CPU[12.5], and CPU[--] without a value.
func (o Operand) value(means map[string]float64) (value float64, known bool, text string) {
	if o.Attribute == "" {
		return o.Number, true, o.String()
	}
	name := strings.ToUpper(o.Attribute)
	mean, known := means[name]
	if !known {
		return 0, false, name + "[--]"
	}
	written := strconv.FormatFloat(mean, 'f', -1, 64)
	if !strings.Contains(written, ".") {
		written += ".0"
	}
	return mean, true, name + "[" + written + "]"
}
