package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setDeadlines names when to look again. A deadline that stands is kept, so
// that a stream of events cannot put it off for ever.
func (d deadliner) setDeadlines() {
	for name, due := range d.Deadlines {
		if !due.After(d.now) {
			delete(d.Deadlines, name)
		}
	}
	if d.state() == ServiceCooldown {
		d.setDeadline(DeadlineCooldown, d.CooldownUntil)
	} else {
		delete(d.Deadlines, DeadlineCooldown)
	}
	d.setPolicyDeadlines()
	d.retrier.setRetryDeadline()
	if d.looksAgain() {
		if _, set := d.Deadlines[DeadlineLook]; !set {
			d.setDeadline(DeadlineLook, d.now.Add(d.patience()))
		}
	} else if !d.entered && d.state() != ServiceRunning {
		delete(d.Deadlines, DeadlineLook)
	}
	d.tracker.setStayDeadline()
}

// setPolicyDeadlines: policies are for services that run.
func (d deadliner) setPolicyDeadlines() {
	due, has := d.Service.nextSchedule(d.now)
	if state := d.state(); state != ServiceRunning && state != ServiceWarning {
		has = false
		delete(d.Deadlines, DeadlineRefill)
	}
	if has {
		d.setDeadline(DeadlineSchedule, due)
	} else {
		delete(d.Deadlines, DeadlineSchedule)
	}
}

// looksAgain: while waiting or in trouble, and once after coming to rest, in
// case the last event told an older truth.
func (d deadliner) looksAgain() bool {
	state := d.state()
	return state.Waiting() || state == ServiceWarning || state == ServiceHold || len(d.Asked) > 0 ||
		state == ServiceFailedDeployingNets && d.networker.networksLeft() || d.entered && !state.Failed()
}

// patience is for how long nothing is looked at. Services that wait for nothing
// which they have asked for take up to twice as long, each its own time: when a host
// fails, thousands come into trouble at once, and are not to ask oned all at once
// from then on. Multiples of the golden ratio lie evenly, also those of ids
// that follow each other.
func (d deadliner) patience() time.Duration {
	look := d.settings.Look
	switch d.state() {
	case ServiceRunning, ServiceWarning, ServiceHold:
		if len(d.Asked) == 0 {
			const golden, fractions = 2654435769, 1 << 10
			share := uint32(d.Service.ID) * golden >> 22 //nolint:gosec // any number will do
			return look + look/fractions*time.Duration(share)
		}
	}
	return look
}

func (p *planner) setDeadline(name string, due time.Time) {
	if p.Deadlines == nil {
		p.Deadlines = map[string]time.Time{}
	}
	p.Deadlines[name] = due
}

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

const deadlinesExample = `{"pending": 600, "scaling": 1800, "then": "shrink"}`

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

// checkDeadlines holds the rules for the attribute of a service or role.
func checkDeadlines(f *findings, path string, text json.RawMessage) {
	if len(text) == 0 {
		return
	}
	if kindOf(text) != kindObject {
		f.add(path, "is %s; it must be an object such as %s", short(text), deadlinesExample)
		return
	}
	if _, wrong := readDeadlines(attributesOf(text)); wrong != "" {
		f.add(path, "%s", wrong)
	}
}

// secondsText is a length of time for people: "600 s".
func secondsText(length time.Duration) string {
	return strconv.FormatFloat(length.Seconds(), 'f', -1, 64) + " s"
}

// VMDeadlines are for how long a VM that a service waits for may stay in a state which
// it should leave by itself, by what oned does with it; 0 is for any length of time.
type VMDeadlines struct {
	// Ready is for a VM behind a ready gate that does not report READY=YES, default any
	// length.
	Ready time.Duration
	// Prolog is for the copying of images before a start, default 1 hour.
	Prolog time.Duration
	// Boot is for the start, default 10 minutes.
	Boot time.Duration
	// Shutdown is for the end of a guest, default 10 minutes.
	Shutdown time.Duration
	// Epilog is for the copying of images after the end, default 1 hour.
	Epilog time.Duration
	// Other is for all that is done to a VM otherwise, default 2 hours.
	Other time.Duration
	// Network is for a virtual network that is made or deleted, default 10 minutes.
	Network time.Duration
	// LeaderChange is for a VM that was on its way when the zone's leader changed: the
	// drivers' answers are lost with the process. It counts from the change, default 45 s.
	LeaderChange time.Duration
}

// DefaultVMDeadlines are those of a configuration that says nothing.
func DefaultVMDeadlines() VMDeadlines {
	return VMDeadlines{
		Prolog: time.Hour, Boot: 10 * time.Minute, Shutdown: 10 * time.Minute, Epilog: time.Hour, Other: 2 * time.Hour, Network: 10 * time.Minute,
		LeaderChange: 45 * time.Second,
	}
}

// ParseVMDeadlines reads deadlines as a configuration has them, such as boot=10m; those that
// it does not name are the default ones.
func ParseVMDeadlines(list []string) (VMDeadlines, error) {
	parsed := DefaultVMDeadlines()
	known := map[string]*time.Duration{
		"ready": &parsed.Ready, "prolog": &parsed.Prolog, "boot": &parsed.Boot, "shutdown": &parsed.Shutdown, "epilog": &parsed.Epilog,
		"leader-change": &parsed.LeaderChange,
	}
	for _, one := range list {
		name, text, _ := strings.Cut(one, "=")
		deadline, is := known[strings.TrimSpace(name)]
		if !is {
			return parsed, fmt.Errorf("has %q; it can have %s", strings.TrimSpace(name), strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		length, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil || length < 0 {
			return parsed, fmt.Errorf("has %q; it must be a length of time such as %s=10m", one, strings.TrimSpace(name))
		}
		*deadline = length
	}
	return parsed, nil
}

// of is the deadline for a VM's state.
func (d VMDeadlines) of(stage stage) time.Duration {
	switch stage {
	case stagePending: // Deadlines has it
		return 0
	case stageReady:
		return d.Ready
	case stageProlog:
		return d.Prolog
	case stageBoot:
		return d.Boot
	case stageShutdown:
		return d.Shutdown
	case stageEpilog:
		return d.Epilog
	}
	return d.Other
}

// stage is what oned does with a VM in a state that it should leave by itself.
type stage int

const (
	stageNone stage = iota // it stays
	stagePending
	stageReady // it is up, and its role waits for READY=YES
	stageProlog
	stageBoot
	stageShutdown
	stageEpilog
	stageOther
)

// stages are those of the life-cycle states that have one of their own: STATE ACTIVE
// with LCM_STATE LCM_INIT is the beginning of a deployment.
var stages = map[LCMState]stage{
	LCMProlog: stageProlog, 8: stageProlog, 9: stageProlog, 31: stageProlog, 43: stageProlog, 45: stageProlog, 60: stageProlog,
	LCMInit: stageBoot, LCMBoot: stageBoot, LCMBootUnknown: stageBoot, LCMBootPoweroff: stageBoot, LCMBootSuspended: stageBoot, 22: stageBoot, 32: stageBoot, 35: stageBoot,
	LCMShutdown: stageShutdown, LCMCancel: stageShutdown,
	LCMEpilog: stageEpilog, 10: stageEpilog, LCMFailure: stageEpilog, 15: stageEpilog, LCMCleanupDelete: stageEpilog, 30: stageEpilog,
}

func (v VM) stage() stage {
	switch v.State {
	case VMInit, VMPending:
		return stagePending
	case VMCloning:
		return stageProlog
	case VMActive:
	default:
		return stageNone
	}
	if known, is := stages[v.LCMState]; is {
		return known
	}
	if v.Running() || v.Failed() || v.Lost() {
		return stageNone
	}
	return stageOther
}

// mending returns the call of one.vm.recover that gets the VM out of a state in which no
// driver is at work on it; "" where oned has none, and where the guest ends by itself.
// One that boots again is retried where it is: let fail, it would be powered off. All
// others are let fail: that leads to a failure that can be retried, or back to where the
// VM was before it was powered off, saved, changed or backed up.
func (v VM) mending() string {
	switch {
	case v.stage() == stageNone || v.State != VMActive || v.stage() == stageShutdown:
		return ""
	case v.LCMState == LCMInit || v.LCMState == lcmRevert || v.LCMState == lcmRevertSuspended:
		return ""
	case v.LCMState == LCMBootUnknown || v.LCMState == LCMBootPoweroff || v.LCMState == LCMBootSuspended:
		return callRetry
	}
	return callFail
}

// Changing reports whether drivers are at work on a VM that has been up. A leader that comes
// after does not know of that; what it knows by itself is that a guest has shut down.
func (v VM) Changing() bool {
	stage := v.stage()
	return stage != stageNone && stage != stageShutdown && !v.isNew()
}

// isNew reports whether the VM has never been up: another may be made in its place.
func (v VM) isNew() bool {
	switch v.State {
	case VMInit, VMPending, VMCloning:
		return true
	}
	return v.State == VMActive && (v.LCMState == LCMInit || v.LCMState == LCMProlog || v.LCMState == LCMBoot)
}
