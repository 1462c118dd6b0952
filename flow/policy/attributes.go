package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// The modes of healing.
const (
	HealRecreate = "recreate"
	HealRecover  = "recover"
)

// HealRule is a role's parsed attribute heal.
type HealRule struct {
	Action string
	After  time.Duration
	Max    int
}

// HealText describes the role's attribute heal for people. It is empty if the role has no valid one.
func HealText(role *spec.Role) string {
	rule, has, _ := HealRuleOf(role)
	if !has {
		return ""
	}
	return fmt.Sprintf("%s after %s, at most %d an hour", rule.Action, rule.After, rule.Max)
}

// HealRuleOf parses a role's attribute heal. has is false if the attribute is absent or invalid; wrong is why it is invalid.
func HealRuleOf(role *spec.Role) (rule HealRule, has bool, wrong string) {
	switch raw.KindOf(role.Heal) {
	case raw.KindNull:
		return rule, false, ""
	case raw.KindObject:
	default:
		return rule, false, fmt.Sprintf(`is %s; it must be an object such as {"action": "recreate", "after": "60s", "max": 3}`, raw.Short(role.Heal))
	}
	given := raw.Attributes(role.Heal)
	rule = HealRule{Action: raw.Text(given["action"]), After: time.Minute, Max: 3}
	if rule.Action != HealRecreate && rule.Action != HealRecover {
		return rule, false, fmt.Sprintf("has the action %s; it can be %q or %q", raw.Short(given["action"]), HealRecreate, HealRecover)
	}
	if after := given["after"]; raw.KindOf(after) != raw.KindNull {
		length, err := time.ParseDuration(raw.Text(after))
		if seconds, whole := raw.Whole(after); whole && seconds <= int(24*time.Hour/time.Second) {
			length, err = time.Duration(seconds)*time.Second, nil
		}
		if rule.After = length; err != nil || length < time.Second || length > 24*time.Hour {
			return rule, false, fmt.Sprintf("has after %s; it must be a duration from \"1s\" to \"24h\", or a number of seconds", raw.Short(after))
		}
	}
	if most := given["max"]; raw.KindOf(most) != raw.KindNull {
		var known bool
		if rule.Max, known = raw.Whole(most); !known || rule.Max < 1 || rule.Max > 1000 {
			return rule, false, fmt.Sprintf("has max %s; it must be a whole number from 1 to 1000", raw.Short(most))
		}
	}
	if rule.Action == HealRecreate && role.IsRouter() {
		return rule, false, "cannot be \"recreate\": the VMs of a virtual router end with it; \"recover\" is possible"
	}
	return rule, true, ""
}

// The orders in which a role that scales down loses VMs, as its attribute "victims" names them. In each order VMs in trouble come first,
// then VMs that have not come up.
const (
	victimsOldest   = "oldest"
	VictimsNewest   = "newest"
	VictimsNotReady = "not_ready"
)

var victimOrders = []string{victimsOldest, VictimsNewest, VictimsNotReady}

// VictimOrder returns the order in which the role loses VMs: oldest first if it names no valid one.
func VictimOrder(role *spec.Role) string {
	if order := raw.Text(role.Victims); slices.Contains(victimOrders, order) {
		return order
	}
	return victimsOldest
}

// CheckVictims returns what is wrong with a role's attribute victims, empty if nothing is.
func CheckVictims(text json.RawMessage) string {
	if raw.KindOf(text) != raw.KindNull && !slices.Contains(victimOrders, raw.Text(text)) {
		return fmt.Sprintf("is %s; it can be %s", raw.Short(text), raw.Choices(victimOrders))
	}
	return ""
}

// What happens when a deadline has passed.
const (
	// ThenFail lets the role or service fail; the reason names what it waited for.
	ThenFail = "fail"
	// ThenShrink takes back the VMs of a scaling that did not come; anything else fails.
	ThenShrink = "shrink"
	// ThenUndeploy ends the service.
	ThenUndeploy = "undeploy"
)

// The names of the deadlines: of a VM that no host accepts, and of the states of that name.
const (
	WaitPending     = "pending"
	WaitDeploying   = "deploying"
	WaitScaling     = "scaling"
	WaitUndeploying = "undeploying"
)

// maxDeadline is in seconds: 30 days.
const maxDeadline = 30 * 24 * 3600

// Deadlines limit how long a service or role may wait; 0 means no limit. In a template they are the attribute "deadlines" of the service
// and of roles, in seconds.
type Deadlines struct {
	// Pending is for a VM that no host accepts.
	Pending time.Duration
	// Deploying, Scaling and Undeploying are for the state of that name.
	Deploying, Scaling, Undeploying time.Duration
	// Then is what happens when a deadline has passed: ThenFail, also if it is empty, ThenShrink or ThenUndeploy.
	Then string
}

// For returns the deadline with the name.
func (d *Deadlines) For(name string) *time.Duration {
	switch name {
	case WaitPending:
		return &d.Pending
	case WaitDeploying:
		return &d.Deploying
	case WaitScaling:
		return &d.Scaling
	case WaitUndeploying:
		return &d.Undeploying
	}
	return new(time.Duration)
}

// ReadDeadlines parses the attribute deadlines. A deadline that it does not name is taken from over: the service's for a role, the
// configuration's for a service. An invalid attribute is ignored; wrong is why it is invalid.
func ReadDeadlines(text json.RawMessage, over Deadlines) (deadlines Deadlines, wrong string) {
	switch {
	case raw.KindOf(text) == raw.KindNull:
		return over, ""
	case raw.KindOf(text) != raw.KindObject:
		return over, fmt.Sprintf(`is %s; it must be an object such as {"pending": 600, "scaling": 1800, "then": "shrink"}`, raw.Short(text))
	}
	names, thens := []string{WaitPending, WaitDeploying, WaitScaling, WaitUndeploying, "then"}, []string{ThenFail, ThenShrink, ThenUndeploy}
	deadlines = over
	given := raw.Attributes(text)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := given[name]
		seconds, whole := raw.Whole(value)
		switch {
		case !slices.Contains(names, name):
			return over, fmt.Sprintf("has %q; it can have %s", raw.Shown(name), raw.Choices(names))
		case raw.KindOf(value) == raw.KindNull:
		case name != "then" && (!whole || seconds < 0 || seconds > maxDeadline):
			return over, fmt.Sprintf("has %s %s; it must be a whole number of seconds from 0, which is no deadline, to %d", name, raw.Short(value), maxDeadline)
		case name != "then":
			*deadlines.For(name) = time.Duration(seconds) * time.Second
		case !slices.Contains(thens, raw.Text(value)):
			return over, fmt.Sprintf("has then %s; it can be %s", raw.Short(value), raw.Choices(thens))
		default:
			deadlines.Then = raw.Text(value)
		}
	}
	return deadlines, ""
}

// ParseDeadlines parses the deadlines of a configuration: "scaling=600", "then=fail".
func ParseDeadlines(list []string) (Deadlines, error) {
	given := raw.Object{}
	for _, one := range list {
		name, value, _ := strings.Cut(one, "=")
		given[strings.TrimSpace(name)] = raw.Marshal(strings.TrimSpace(value))
	}
	deadlines, wrong := ReadDeadlines(given.JSON(), Deadlines{})
	if wrong != "" {
		return Deadlines{}, errors.New(wrong)
	}
	return deadlines, nil
}
