package sim

import (
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
)

// host is a hypervisor of the simulated zone.
type host struct {
	ID                  int
	Name                string
	usedCPU, usedMemory int // in hundredths of a CPU and in MiB
	vms                 map[int]bool
}

func (h *host) fits(v *vm) bool {
	cpu, memory := v.size()
	return h.usedCPU+cpu <= hostCPUs*100 && h.usedMemory+memory <= hostMemory
}

func (h *host) reserve(v *vm) {
	cpu, memory := v.size()
	h.usedCPU += cpu
	h.usedMemory += memory
	h.vms[v.ID] = true
	v.Host = h.ID
}

// hostCPUs are the cores of a host, and hostMemory its memory in MiB.
const (
	hostCPUs   = 10_000
	hostMemory = 64 << 20
)

// hosts are all hosts, and the host to try first for the next VM.
type hosts struct {
	all  []*host
	next int
}

func newHosts() *hosts {
	h := &hosts{}
	for id := range 4 {
		h.all = append(h.all, &host{ID: id, Name: "host" + itoa(id+1), vms: map[int]bool{}})
	}
	return h
}

// pick returns a host with room for a VM, trying one after the other; nil when the cloud is full.
func (h *hosts) pick(v *vm) *host {
	for i := range h.all {
		one := h.all[(h.next+i)%len(h.all)]
		if one.fits(v) {
			h.next = (one.ID + 1) % len(h.all)
			return one
		}
	}
	return nil
}

func (h *hosts) free(v *vm) {
	if v.Host < 0 {
		return
	}
	one := h.all[v.Host]
	cpu, memory := v.size()
	one.usedCPU -= cpu
	one.usedMemory -= memory
	delete(one.vms, v.ID)
	v.Host = -1
}

const (
	// windowTime is how long oned's scheduler collects VMs before it places them (SCHED_MAX_WND_TIME as shipped), and
	// windowLength how many it collects at most.
	windowTime   = 10 * time.Second
	windowLength = 7
)

// window is the scheduler's window: pending VMs wait until it closes. The database's lock guards it.
type window struct {
	length time.Duration
	ids    []int
	round  int // identifies the window: alarms of earlier ones are void
	plan   plan
}

// plan is a plan of the scheduler's that is being carried out: meanwhile oned refuses the next one, whose VMs stay pending.
type plan struct {
	// timeout is how long a deployment is waited for (ACTION_TIMEOUT); 0 for plans that delay no other.
	timeout   time.Duration
	deploying map[int]bool // the VMs whose deployments are not finished; refused are those of refused plans
	refused   []int
	number    int // identifies the plan: timeouts of earlier ones are void
}

// collect makes a pending VM wait for the scheduler; the first one opens the window. The caller holds the lock.
func (d *database) collect(v *vm) {
	w := &d.window
	if slices.Contains(w.ids, v.ID) {
		return
	}
	w.ids = append(w.ids, v.ID)
	round := w.round
	shut := func() {
		d.update(func(t *tx) {
			if w.round == round && d.raft.now().leader() >= 0 {
				w.plan.carryOut(t, d.emptyWindow())
			}
		})
	}
	switch len(w.ids) {
	case 1:
		d.clock.After(w.length, shut)
	case windowLength:
		d.clock.After(0, shut)
	}
}

// emptyWindow ends the window and returns the VMs that waited in it. The caller holds the lock.
func (d *database) emptyWindow() []int {
	ids := d.window.ids
	d.window.ids = nil
	d.window.round++
	return ids
}

// carryOut deploys VMs, unless the previous plan is still being carried out.
func (p *plan) carryOut(t *tx, ids []int) {
	if len(p.deploying) > 0 {
		p.refused = append(p.refused, ids...)
		return
	}
	ids, p.refused = append(p.refused, ids...), nil
	slices.Sort(ids) // oned places the oldest first
	for _, id := range slices.Compact(ids) {
		v := t.cloud.vms[id]
		if v == nil || v.State != one.VMPending {
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
		t.db.clock.After(p.timeout, func() { t.db.update(func(t *tx) { p.end(t, number) }) })
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

// end ends the plan with that number, and places the refused VMs. While VMs are collected their window does that.
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
