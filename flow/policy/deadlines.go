package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
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
	WaitPending     = "pending"
	WaitDeploying   = "deploying"
	WaitScaling     = "scaling"
	WaitUndeploying = "undeploying"
)

// maxServiceDeadline bounds a deadline.
const maxServiceDeadline = 30 * 24 * time.Hour

// DeadlineRule is an attribute "deadlines", read. What it does not name is left to who
// comes next: the service for a role, the configuration for a service.
type DeadlineRule struct {
	Limits map[string]time.Duration
	Then   string
}

// DeadlineRuleOf reads an attribute; what cannot be used says nothing.
func DeadlineRuleOf(text json.RawMessage) DeadlineRule {
	rule, wrong := readDeadlines(raw.Attributes(text))
	if wrong != "" {
		return DeadlineRule{}
	}
	return rule
}

// readDeadlines reads the attribute, or tells what is wrong with it.
func readDeadlines(given raw.Object) (rule DeadlineRule, wrong string) {
	rule.Limits = map[string]time.Duration{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := given[name]
		switch name {
		case WaitPending, WaitDeploying, WaitScaling, WaitUndeploying:
			seconds, whole := raw.Whole(value)
			if !whole || seconds < 0 || seconds > int(maxServiceDeadline/time.Second) {
				return rule, fmt.Sprintf("has %s %s; it must be a whole number of seconds from 0, which is no deadline, to %d",
					name, raw.Short(value), int(maxServiceDeadline/time.Second))
			}
			rule.Limits[name] = time.Duration(seconds) * time.Second
		case "then":
			rule.Then = raw.Text(value)
			if !slices.Contains([]string{ThenFail, ThenShrink, ThenUndeploy}, rule.Then) {
				return rule, fmt.Sprintf("has then %s; it can be %s", raw.Short(value), raw.Choices([]string{ThenFail, ThenShrink, ThenUndeploy}))
			}
		default:
			return rule, fmt.Sprintf("has %q; it can have %s", raw.Shown(name),
				raw.Choices([]string{WaitPending, WaitDeploying, WaitScaling, WaitUndeploying, "then"}))
		}
	}
	return rule, ""
}

// ParseDeadlines reads deadlines as a configuration says them: "scaling=600", "then=fail".
func ParseDeadlines(list []string) (Deadlines, error) {
	given := raw.Object{}
	for _, one := range list {
		name, value, _ := strings.Cut(one, "=")
		given[strings.TrimSpace(name)] = raw.Marshal(strings.TrimSpace(value))
	}
	rule, wrong := readDeadlines(given)
	if wrong != "" {
		return Deadlines{}, fmt.Errorf("%s", wrong)
	}
	return Deadlines{
		Pending: rule.Limits[WaitPending], Deploying: rule.Limits[WaitDeploying], Scaling: rule.Limits[WaitScaling],
		Undeploying: rule.Limits[WaitUndeploying], Then: rule.Then,
	}, nil
}

// For is the deadline of a name.
func (d Deadlines) For(name string) time.Duration {
	switch name {
	case WaitPending:
		return d.Pending
	case WaitDeploying:
		return d.Deploying
	case WaitScaling:
		return d.Scaling
	case WaitUndeploying:
		return d.Undeploying
	}
	return 0
}

// CheckDeadlines returns what is wrong with the attribute of a service or role, empty if nothing is.
func CheckDeadlines(text json.RawMessage) string {
	switch {
	case len(text) == 0:
		return ""
	case raw.KindOf(text) != raw.KindObject:
		return fmt.Sprintf(`is %s; it must be an object such as {"pending": 600, "scaling": 1800, "then": "shrink"}`, raw.Short(text))
	}
	_, wrong := readDeadlines(raw.Attributes(text))
	return wrong
}
