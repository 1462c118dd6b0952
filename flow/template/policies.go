package template

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// rolePolicies are a role's policies as far as the rules know them.
type rolePolicies struct {
	elasticity []elasticityShape
	scheduled  []scheduledShape
	// broken names the attribute that is not an array of policies.
	broken map[string]string
}

// readPolicies reads every role's policies.
func readPolicies(roles []spec.Role) []rolePolicies {
	all := make([]rolePolicies, len(roles))
	for i, role := range roles {
		all[i].broken = map[string]string{}
		all[i].read("elasticity_policies", role.ElasticityPolicies, &all[i].elasticity)
		all[i].read("scheduled_policies", role.ScheduledPolicies, &all[i].scheduled)
	}
	return all
}

func (p *rolePolicies) read(attribute string, text json.RawMessage, into any) {
	if len(text) == 0 {
		return
	}
	if err := json.Unmarshal(text, into); err != nil {
		p.broken[attribute] = "is not an array of policies: " + err.Error()
	}
}

// checkPolicies holds the rules that look at several attributes, and parses.
func checkPolicies(f *findings, path string, policies rolePolicies) {
	for attribute, message := range policies.broken {
		f.add(path+"."+attribute, "%s", message)
	}
	measured := map[string]bool{}
	for i, policy := range policies.elasticity {
		checkExpression(f, fmt.Sprintf("%s.elasticity_policies[%d].expression", path, i), policy.Expression, measured)
	}
	if len(measured) > spec.MaxMeasured {
		f.add(path+".elasticity_policies", "have expressions with %d attributes; at most %d are possible", len(measured), spec.MaxMeasured)
	}
	for i, policy := range policies.scheduled {
		checkStart(f, fmt.Sprintf("%s.scheduled_policies[%d]", path, i), policy)
	}
}

// checkExpression holds that a condition can be read, and notes the attributes in it.
func checkExpression(f *findings, path, text string, measured map[string]bool) {
	if text == "" {
		return
	}
	condition, err := expression.Parse(text)
	if err != nil {
		f.add(path, "%q cannot be read: %v", raw.Shown(text), err)
		return
	}
	for _, name := range condition.Attributes() {
		measured[name] = true
	}
}

// checkStart holds that a scheduled policy has one way to start.
func checkStart(f *findings, path string, given scheduledShape) {
	once, again := len(given.StartTime) > 0, given.Recurrence != ""
	if once == again {
		f.add(path, "needs either \"start_time\" or \"recurrence\", and not both")
		return
	}
	if !once {
		checkRecurrence(f, path+".recurrence", given.Recurrence)
		return
	}
	if _, err := policy.ParseStartTime(given.StartTime, time.UTC); err != nil {
		f.add(path+".start_time", "%v", err)
	}
}

// checkRecurrence finds dates that do not exist, such as 31 February.
func checkRecurrence(f *findings, path, recurrence string) {
	if f.hides(path) {
		return
	}
	reference := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	by := policy.Adjustment{Recurrence: recurrence, LastEval: reference.Unix()}
	if _, comes := by.NextStart(reference); !comes {
		f.add(path, "is %q, which never occurs: there is no such date", recurrence)
	}
}
