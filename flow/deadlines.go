package flow

import (
	"time"

	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// setDeadlines names when to look again. A deadline that stands is kept, so
// that a stream of events cannot put it off for ever.
func (d deadliner) setDeadlines() {
	for name, due := range d.Deadlines {
		if !due.After(d.now) {
			delete(d.Deadlines, name)
		}
	}
	if d.state() == spec.ServiceCooldown {
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
	} else if !d.entered && d.state() != spec.ServiceRunning {
		delete(d.Deadlines, DeadlineLook)
	}
	d.tracker.setStayDeadline()
}

// setPolicyDeadlines: policies are for services that run.
func (d deadliner) setPolicyDeadlines() {
	due, has := policy.NextSchedule(d.Service, d.now)
	if state := d.state(); state != spec.ServiceRunning && state != spec.ServiceWarning {
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
	return state.Waiting() || state == spec.ServiceWarning || state == spec.ServiceHold || len(d.Asked) > 0 ||
		state == spec.ServiceFailedDeployingNets && d.networker.networksLeft() || d.entered && !state.Failed()
}

// patience is for how long nothing is looked at. Services that wait for nothing
// which they have asked for take up to twice as long, each its own time: when a host
// fails, thousands come into trouble at once, and are not to ask oned all at once
// from then on. Multiples of the golden ratio lie evenly, also those of ids
// that follow each other.
func (d deadliner) patience() time.Duration {
	look := d.settings.Look
	switch d.state() {
	case spec.ServiceRunning, spec.ServiceWarning, spec.ServiceHold:
		if len(d.Asked) == 0 {
			const golden, fractions = 2654435769, 1 << 10
			share := uint32(d.Service.ID) * golden >> 22 //nolint:gosec // any number will do
			return look + look/fractions*time.Duration(share)
		}
	}
	return look
}

func (p *planner) setDeadline(name string, due time.Time) { set(&p.Deadlines, name, due) }
