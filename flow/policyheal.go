package flow

import (
	"encoding/json"
	"fmt"
	"time"
)

// The ways to heal.
const (
	healRecreate = "recreate"
	healRecover  = "recover"
)

// healRule is a role's attribute heal, read.
type healRule struct {
	action string
	after  time.Duration
	max    int
}

// healRuleOf reads a role's attribute heal; false where it has none that can be used.
func healRuleOf(role *Role) (healRule, bool) {
	if len(role.Heal) == 0 || checkHeal(role) != "" {
		return healRule{}, false
	}
	rule, _ := readHeal(role.Heal)
	return rule, true
}

// HealText describes the role's attribute heal for people; empty without one that can be used.
func HealText(role *Role) string {
	rule, has := healRuleOf(role)
	if !has {
		return ""
	}
	return fmt.Sprintf("%s after %s, at most %d an hour", rule.action, rule.after, rule.max)
}

// readHeal reads the attribute, or says what is wrong with it.
func readHeal(text json.RawMessage) (rule healRule, wrong string) {
	given := attributesOf(text)
	rule = healRule{action: textOf(given["action"]), after: time.Minute, max: 3}
	if rule.action != healRecreate && rule.action != healRecover {
		return rule, fmt.Sprintf("has the action %s; it can be %q or %q", short(given["action"]), healRecreate, healRecover)
	}
	if after, has := given["after"]; has {
		var known bool
		if rule.after, known = lengthOf(after); !known || rule.after < time.Second || rule.after > 24*time.Hour {
			return rule, fmt.Sprintf("has after %s; it must be a time from \"1s\" to \"24h\", or a number of seconds", short(after))
		}
	}
	if most, has := given["max"]; has {
		var known bool
		if rule.max, known = wholeOf(most); !known || rule.max < 1 || rule.max > 1000 {
			return rule, fmt.Sprintf("has max %s; it must be a whole number from 1 to 1000", short(most))
		}
	}
	return rule, ""
}

// lengthOf reads a length of time: "90s", "5m", or a number of seconds.
func lengthOf(value json.RawMessage) (time.Duration, bool) {
	if seconds, whole := wholeOf(value); whole && seconds <= int(24*time.Hour/time.Second) {
		return time.Duration(seconds) * time.Second, true
	}
	length, err := time.ParseDuration(textOf(value))
	return length, err == nil
}

// checkHeal returns what is wrong with a role's attribute heal, empty if nothing is.
func checkHeal(role *Role) string {
	if len(role.Heal) == 0 {
		return ""
	}
	if kindOf(role.Heal) != kindObject {
		return fmt.Sprintf("is %s; it must be an object such as {\"action\": \"recreate\", \"after\": \"60s\", \"max\": 3}", short(role.Heal))
	}
	rule, wrong := readHeal(role.Heal)
	if wrong == "" && rule.action == healRecreate && role.isRouter() {
		return "cannot be \"recreate\": the VMs of a virtual router end with it; \"recover\" is possible"
	}
	return wrong
}
