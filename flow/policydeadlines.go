package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Deadlines are for how long a service or role may wait; 0 is for any length of time. In
// a template they are the attribute "deadlines" of the service and of roles, in seconds.
type Deadlines struct {
	// Pending is for a VM that no host takes.
	Pending time.Duration
	// Deploying, Scaling and Undeploying are for the state of that name.
	Deploying, Scaling, Undeploying time.Duration
	// Then is what happens then: ThenFail, which an empty text is too, ThenShrink or
	// ThenUndeploy.
	Then string
}

// What happens when a deadline has passed.
const (
	// ThenFail has the role or service fail with what it waited for as the reason.
	ThenFail = "fail"
	// ThenShrink takes back what did not come in a scaling; anything else fails.
	ThenShrink = "shrink"
	// ThenUndeploy ends the service.
	ThenUndeploy = "undeploy"
)

// The deadlines' names.
const (
	waitPending     = "pending"
	waitDeploying   = "deploying"
	waitScaling     = "scaling"
	waitUndeploying = "undeploying"
)

// maxServiceDeadline bounds a deadline.
const maxServiceDeadline = 30 * 24 * time.Hour

// deadlineRule is an attribute "deadlines", read. What it does not name is left to who
// comes next: the service for a role, the configuration for a service.
type deadlineRule struct {
	limits map[string]time.Duration
	then   string
}

// deadlineRuleOf reads an attribute; what cannot be used says nothing.
func deadlineRuleOf(text json.RawMessage) deadlineRule {
	if kindOf(text) != kindObject {
		return deadlineRule{}
	}
	rule, wrong := readDeadlines(attributesOf(text))
	if wrong != "" {
		return deadlineRule{}
	}
	return rule
}

// readDeadlines reads the attribute, or tells what is wrong with it.
func readDeadlines(given object) (rule deadlineRule, wrong string) {
	rule.limits = map[string]time.Duration{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := given[name]
		switch name {
		case waitPending, waitDeploying, waitScaling, waitUndeploying:
			seconds, whole := wholeOf(value)
			if !whole || seconds < 0 || seconds > int(maxServiceDeadline/time.Second) {
				return rule, fmt.Sprintf("has %s %s; it must be a whole number of seconds from 0, which is no deadline, to %d",
					name, short(value), int(maxServiceDeadline/time.Second))
			}
			rule.limits[name] = time.Duration(seconds) * time.Second
		case "then":
			rule.then = textOf(value)
			if !slices.Contains([]string{ThenFail, ThenShrink, ThenUndeploy}, rule.then) {
				return rule, fmt.Sprintf("has then %s; it can be %s", short(value), choices([]string{ThenFail, ThenShrink, ThenUndeploy}))
			}
		default:
			return rule, fmt.Sprintf("has %q; it can have %s", shown(name),
				choices([]string{waitPending, waitDeploying, waitScaling, waitUndeploying, "then"}))
		}
	}
	return rule, ""
}

// ParseDeadlines reads deadlines as a configuration says them: "scaling=600", "then=fail".
func ParseDeadlines(list []string) (Deadlines, error) {
	given := object{}
	for _, one := range list {
		name, value, _ := strings.Cut(one, "=")
		given[strings.TrimSpace(name)] = mustMarshal(strings.TrimSpace(value))
	}
	rule, wrong := readDeadlines(given)
	if wrong != "" {
		return Deadlines{}, fmt.Errorf("%s", wrong)
	}
	return Deadlines{
		Pending: rule.limits[waitPending], Deploying: rule.limits[waitDeploying], Scaling: rule.limits[waitScaling],
		Undeploying: rule.limits[waitUndeploying], Then: rule.then,
	}, nil
}

// of is the deadline of a name.
func (d Deadlines) of(name string) time.Duration {
	switch name {
	case waitPending:
		return d.Pending
	case waitDeploying:
		return d.Deploying
	case waitScaling:
		return d.Scaling
	case waitUndeploying:
		return d.Undeploying
	}
	return 0
}

// checkDeadlines returns what is wrong with the attribute of a service or role, empty if nothing is.
func checkDeadlines(text json.RawMessage) string {
	switch {
	case len(text) == 0:
		return ""
	case kindOf(text) != kindObject:
		return fmt.Sprintf(`is %s; it must be an object such as {"pending": 600, "scaling": 1800, "then": "shrink"}`, short(text))
	}
	_, wrong := readDeadlines(attributesOf(text))
	return wrong
}
