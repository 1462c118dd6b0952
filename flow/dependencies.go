package flow

import "github.com/flowjet/flowjet/flow/spec"

// dependencies are which roles wait for which, by the roles' names and places.
type dependencies struct {
	// parents are -1 for one that does not exist.
	parents, children map[string][]int
	// holding are the roles that are on hold, or wait for one that is.
	holding map[string]bool
}

// dependencies are those of the roles in this step. A document may have hundreds of
// thousands, so that they are looked up once.
func (p *planner) dependencies() *dependencies {
	if p.waiting == nil {
		p.waiting = dependenciesOf(p.Service.Body)
	}
	return p.waiting
}

func dependenciesOf(body spec.Body) *dependencies {
	d := &dependencies{parents: map[string][]int{}, children: map[string][]int{}, holding: map[string]bool{}}
	places := map[string]int{}
	for i, role := range body.Roles {
		places[role.Name] = i
	}
	for i, role := range body.Roles {
		for _, parent := range role.Parents {
			at, exists := places[parent]
			if !exists {
				at = -1
			}
			d.parents[role.Name] = append(d.parents[role.Name], at)
			d.children[parent] = append(d.children[parent], i)
		}
	}
	for i := range body.Roles {
		if flag(body.Roles[i].OnHold) {
			d.hold(body, i)
		}
	}
	return d
}

// hold notes that a role is on hold, and with the strategy straight those that wait for it.
func (d *dependencies) hold(body spec.Body, role int) {
	for found := []int{role}; len(found) > 0; found = found[1:] {
		name := body.Roles[found[0]].Name
		if d.holding[name] {
			continue
		}
		d.holding[name] = true
		if body.Deployment == spec.DeploymentStraight {
			found = append(found, d.children[name]...)
		}
	}
}
