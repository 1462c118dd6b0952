package sim

import (
	"slices"
	"time"
)

const (
	// windowTime is for how long oned's scheduler collects VMs before it places them
	// (SCHED_MAX_WND_TIME as shipped), and windowLength how many it collects at most.
	windowTime   = 10 * time.Second
	windowLength = 7
)

// window is the scheduler's: pending VMs wait until it closes. The database's lock guards it.
type window struct {
	length time.Duration
	ids    []int
	// round tells a window from the ones before, whose alarms are void.
	round int
	plan  plan
}

// plan is what the scheduler has decided and is being carried out: as long as it is, oned
// refuses the next one, whose VMs stay pending.
type plan struct {
	// timeout is after how long a deployment is not waited for any more (ACTION_TIMEOUT); 0
	// for plans that are in nobody's way.
	timeout time.Duration
	// deploying are the VMs whose deployments are not finished, refused those that a plan was
	// refused for.
	deploying map[int]bool
	refused   []int
	// number tells a plan from the ones before, whose timeouts are void.
	number int
}

// newWindow makes the window of a zone. Where VMs take no time at all, they do not wait for
// the scheduler either.
func newWindow(config Config) window {
	if config.BootDelay < 0 {
		return window{}
	}
	return window{
		length: time.Duration(config.TimeFactor * float64(windowTime)),
		plan:   plan{timeout: config.ActionTimeout, deploying: map[int]bool{}},
	}
}

// collect has a pending VM wait for the scheduler; the first one opens the window. The caller
// holds the lock.
func (d *database) collect(v *vm) {
	w := &d.window
	if slices.Contains(w.ids, v.ID) {
		return
	}
	w.ids = append(w.ids, v.ID)
	switch round := w.round; len(w.ids) {
	case 1:
		d.clock.after(w.length, func() { d.update(func(t *tx) { t.closeWindow(round) }) })
	case windowLength:
		d.clock.after(0, func() { d.update(func(t *tx) { t.closeWindow(round) }) })
	}
}

// emptyWindow ends the window and returns the VMs that waited in it. The caller holds the lock.
func (d *database) emptyWindow() []int {
	ids := d.window.ids
	d.window.ids = nil
	d.window.round++
	return ids
}

// carryOut has VMs deployed, unless the plan before is still being carried out.
func (p *plan) carryOut(t *tx, ids []int) {
	if len(p.deploying) > 0 {
		p.refused = append(p.refused, ids...)
		return
	}
	ids, p.refused = append(p.refused, ids...), nil
	slices.Sort(ids) // oned places the oldest first
	for _, id := range slices.Compact(ids) {
		v := t.cloud.vms[id]
		if v == nil || v.State != vmPending {
			continue
		}
		v.placing = true
		t.db.after(v)
		if p.timeout > 0 {
			p.deploying[id] = true
		}
	}
	p.number++
	if number := p.number; len(p.deploying) > 0 {
		t.db.clock.after(p.timeout, func() { t.db.update(func(t *tx) { p.end(t, number) }) })
	}
}

// finish is for a VM whose deployment has ended, or cannot begin.
func (p *plan) finish(t *tx, v *vm) {
	if p.deploying[v.ID] {
		if delete(p.deploying, v.ID); len(p.deploying) == 0 {
			p.end(t, p.number)
		}
	}
}

// end ends the plan of that number, and places what was refused. While VMs are collected their
// window does it.
func (p *plan) end(t *tx, number int) {
	if p.number != number {
		return
	}
	p.number++
	clear(p.deploying)
	if len(p.refused) > 0 && len(t.db.window.ids) == 0 {
		p.carryOut(t, nil)
	}
}

// deploys reports whether a VM in a state is being deployed.
func deploys(at status) bool {
	_, boots := bootStates[at.lcm]
	return at.state == vmActive && (boots || at.lcm == lcmInit || at.lcm == lcmProlog || at.lcm == lcmPrologResume || at.lcm == lcmPrologUndeploy)
}
