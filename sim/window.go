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
}

// newWindow makes the window of a zone. Where VMs take no time at all, they do not wait for
// the scheduler either.
func newWindow(config Config) window {
	if config.BootDelay < 0 {
		return window{}
	}
	return window{length: time.Duration(config.TimeFactor * float64(windowTime))}
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
