package flow

import "fmt"

// DeadlineRefill is the timer after which roles below their minimum are filled up.
const DeadlineRefill = "refill"

// belowMinimum reports whether the role has lost VMs, or was forced to fewer, than
// its minimum.
func (r *Role) belowMinimum() bool {
	return !r.isRouter() && r.MinVMs != nil && r.Cardinality < *r.MinVMs
}

// refill brings roles that have come below their minimum back to it, without a
// cooldown, one interval of the autoscaler after it was seen: whoever removed
// VMs on purpose has the time to say so.
func (p *planner) refill() {
	below := false
	for i := range p.roles() {
		role := &p.roles()[i]
		below = below || role.belowMinimum() && p.mayAdjust(role)
	}
	due, set := p.Deadlines[DeadlineRefill]
	switch {
	case !below:
		delete(p.Deadlines, DeadlineRefill)
		return
	case !set:
		p.setDeadline(DeadlineRefill, p.now.Add(p.settings.autoscalerInterval()))
		return
	case due.After(p.now):
		return
	}
	delete(p.Deadlines, DeadlineRefill)
	none := 0
	for i := range p.roles() {
		if role := &p.roles()[i]; role.belowMinimum() && p.mayAdjust(role) {
			p.adjust(role, *role.MinVMs, &none, fmt.Sprintf("the role has %d VMs and its min_vms is %d", role.Cardinality, *role.MinVMs))
		}
	}
}
