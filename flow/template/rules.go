package template

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// rule brings a value into its form, or says what is wrong with it.
type rule func(value json.RawMessage) (converted json.RawMessage, wrong string)

var bodyRules = map[string]rule{
	"name": textRule, "deployment": textRule, "description": textRule, "shutdown_action": textRule,
	"ready_status_gate": booleanRule, "automatic_deletion": booleanRule, "on_hold": booleanRule, spec.ExpandAttribute: booleanRule,
	"user_inputs": objectRule, "user_inputs_values": secretRule,
	"deadlines": objectRule, "networks": objectRule, "networks_values": objectsRule, "roles": objectsRule,
}

var roleRules = map[string]rule{
	"name": textRule, "type": textRule, "shutdown_action": textRule, "parents": textsRule,
	"cardinality": wholeRule, "template_id": wholeRule, "min_vms": wholeRule, "max_vms": wholeRule,
	"victims": textRule, "deadlines": objectRule, "cooldown": wholeRule, "on_hold": booleanRule, "template_contents": secretRule,
	"user_inputs": objectRule, "user_inputs_values": secretRule, spec.ExpandAttribute: booleanRule,
	"elasticity_policies": objectsRule, "scheduled_policies": objectsRule,
}

var elasticityRules = map[string]rule{
	"type": textRule, "adjust": wholeRule, "min_adjust_step": wholeRule, "expression": textRule,
	"period": wholeRule, "period_number": wholeRule, "cooldown": wholeRule,
}

var scheduledRules = map[string]rule{
	"type": textRule, "adjust": wholeRule, "min_adjust_step": wholeRule, "recurrence": textRule,
}

var (
	textRule    = ofKind(raw.KindText, "a string")
	booleanRule = ofKind(raw.KindBoolean, "true or false")
	objectRule  = ofKind(raw.KindObject, "an object")
	objectsRule = arrayOf(raw.KindObject, "an array of objects")
	textsRule   = arrayOf(raw.KindText, "an array of strings")
)

// secretRule is objectRule for what can hold secrets: the refusal shows nothing of it.
func secretRule(value json.RawMessage) (json.RawMessage, string) {
	if raw.KindOf(value) == raw.KindObject {
		return value, ""
	}
	return nil, fmt.Sprintf("is %s; it must be an object", raw.KindOf(value))
}

func ofKind(want raw.Kind, name string) rule {
	return func(value json.RawMessage) (json.RawMessage, string) {
		if raw.KindOf(value) == want {
			return value, ""
		}
		return nil, fmt.Sprintf("is %s; it must be %s", raw.Short(value), name)
	}
}

func arrayOf(want raw.Kind, name string) rule {
	return func(value json.RawMessage) (json.RawMessage, string) {
		var elements []json.RawMessage
		if raw.KindOf(value) != raw.KindArray || json.Unmarshal(value, &elements) != nil {
			return nil, fmt.Sprintf("is %s; it must be %s", raw.Short(value), name)
		}
		for i, element := range elements {
			if raw.KindOf(element) != want {
				return nil, fmt.Sprintf("must be %s; element %d is %s", name, i, raw.Short(element))
			}
		}
		return value, ""
	}
}

// wholeRule is a whole number. Clients write numbers as texts too, and 2.0.
func wholeRule(value json.RawMessage) (json.RawMessage, string) {
	text := string(value)
	if raw.KindOf(value) == raw.KindText {
		text = strings.TrimSpace(raw.Text(value))
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n != math.Trunc(n) || math.Abs(n) > math.MaxInt32 {
		return nil, fmt.Sprintf("is %s; it must be a whole number", raw.Short(value))
	}
	return json.RawMessage(strconv.Itoa(int(n))), ""
}
