package policy

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// The ways to heal.
const (
	HealRecreate = "recreate"
	HealRecover  = "recover"
)

// HealRule is a role's attribute heal, read.
type HealRule struct {
	Action string
	After  time.Duration
	Max    int
}

// HealRuleOf reads a role's attribute heal; false where it has none that can be used.
func HealRuleOf(role *spec.Role) (HealRule, bool) {
	if len(role.Heal) == 0 || CheckHeal(role) != "" {
		return HealRule{}, false
	}
	rule, _ := readHeal(role.Heal)
	return rule, true
}

// HealText describes the role's attribute heal for people; empty without one that can be used.
func HealText(role *spec.Role) string {
	rule, has := HealRuleOf(role)
	if !has {
		return ""
	}
	return fmt.Sprintf("%s after %s, at most %d an hour", rule.Action, rule.After, rule.Max)
}

// readHeal reads the attribute, or says what is wrong with it.
func readHeal(text json.RawMessage) (rule HealRule, wrong string) {
	given := raw.Attributes(text)
	rule = HealRule{Action: raw.Text(given["action"]), After: time.Minute, Max: 3}
	if rule.Action != HealRecreate && rule.Action != HealRecover {
		return rule, fmt.Sprintf("has the action %s; it can be %q or %q", raw.Short(given["action"]), HealRecreate, HealRecover)
	}
	if after, has := given["after"]; has {
		var known bool
		if rule.After, known = lengthOf(after); !known || rule.After < time.Second || rule.After > 24*time.Hour {
			return rule, fmt.Sprintf("has after %s; it must be a duration from \"1s\" to \"24h\", or a number of seconds", raw.Short(after))
		}
	}
	if most, has := given["max"]; has {
		var known bool
		if rule.Max, known = raw.Whole(most); !known || rule.Max < 1 || rule.Max > 1000 {
			return rule, fmt.Sprintf("has max %s; it must be a whole number from 1 to 1000", raw.Short(most))
		}
	}
	return rule, ""
}

// lengthOf reads a length of time: "90s", "5m", or a number of seconds.
func lengthOf(value json.RawMessage) (time.Duration, bool) {
	if seconds, whole := raw.Whole(value); whole && seconds <= int(24*time.Hour/time.Second) {
		return time.Duration(seconds) * time.Second, true
	}
	length, err := time.ParseDuration(raw.Text(value))
	return length, err == nil
}

// CheckHeal returns what is wrong with a role's attribute heal, empty if nothing is.
func CheckHeal(role *spec.Role) string {
	if len(role.Heal) == 0 {
		return ""
	}
	if raw.KindOf(role.Heal) != raw.KindObject {
		return fmt.Sprintf("is %s; it must be an object such as {\"action\": \"recreate\", \"after\": \"60s\", \"max\": 3}", raw.Short(role.Heal))
	}
	rule, wrong := readHeal(role.Heal)
	if wrong == "" && rule.Action == HealRecreate && role.IsRouter() {
		return "cannot be \"recreate\": the VMs of a virtual router end with it; \"recover\" is possible"
	}
	return wrong
}
