package flow_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// TestAnyHistoryKeepsTheInvariants lets a service live through anything: every
// decision is checked, and once the world is quiet the service comes to rest,
// with exactly the VMs that it counts, and can be deleted.
func TestAnyHistoryKeepsTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newRichPlayer(t)
		p.turn()
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			if p.ended {
				break
			}
			p.happen()
		}
		p.quieten()
		if p.ended {
			return
		}
		p.order(flow.VerbRecover, flow.RecoverArguments{Delete: true})
		p.quieten()
		if state := p.state.Service.State(); !p.ended {
			p.Fatalf("deleted, the service rests in %s", state)
		}
	})
}

// TestHealthyServiceReachesRunning: where nothing goes wrong, the service
// reaches RUNNING, follows every scaling, and ends.
func TestHealthyServiceReachesRunning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlayer(t)
		deleting := false
		p.state.Service.Body.AutomaticDeletion = &deleting
		p.trouble = false
		p.turn()
		p.quieten()
		for range rapid.IntRange(0, 4).Draw(t, "scalings") {
			p.wantRunning()
			role := p.drawRole()
			wanted := rapid.IntRange(0, 5).Draw(t, "to")
			done := p.order(flow.VerbScale, flow.ScaleArguments{Role: role.Name, Cardinality: wanted})
			if role.Type == spec.RoleTypeVR && !done {
				continue
			}
			if done == (role.Cardinality == wanted) {
				p.Fatalf("scaling from %d to %d: accepted %v", role.Cardinality, wanted, done)
			}
			p.quieten()
			if got := p.findRole(role.Name).Cardinality; got != wanted {
				p.Fatalf("role %s has cardinality %d, want %d", role.Name, got, wanted)
			}
		}
		p.wantRunning()
		if !p.addRole() {
			p.Fatalf("a role cannot be added to a RUNNING service")
		}
		p.quieten()
		p.wantRunning()
		if !p.removeRole() {
			p.Fatalf("a role cannot be removed from a RUNNING service")
		}
		p.quieten()
		p.wantRunning()
		if !p.order(flow.VerbUndeploy, nil) {
			p.Fatalf("a RUNNING service was not undeployed")
		}
		p.quieten()
		if !p.ended {
			p.Fatalf("the service rests in %s", p.state.Service.State())
		}
	})
}

func (p *player) wantRunning() {
	if p.state.Service.State() == spec.ServiceHold {
		p.order(flow.VerbRelease, nil)
		p.quieten()
	}
	if got := p.state.Service.State(); got != spec.ServiceRunning {
		p.Fatalf("a healthy service rests in %s; log: %+v", got, p.state.Service.Body.Log)
	}
}

func (p *player) drawRole() spec.Role {
	return rapid.SampledFrom(p.state.Service.Body.Roles).Draw(p.T, "role")
}

func (p *player) findRole(name string) spec.Role {
	for _, role := range p.state.Service.Body.Roles {
		if role.Name == name {
			return role
		}
	}
	return spec.Role{}
}

// happen is one thing that happens: to the VMs, to the messages about them, to
// the worker, or by a person's command.
func (p *player) happen() {
	switch rapid.SampledFrom([]string{
		"advance", "advance", "advance", "tell", "tell", "tell", "old news", "meddle", "late call", "crash", "time", "command", "plan", "network", "measure", "leader",
	}).Draw(p.T, "step") {
	case "advance":
		p.onSomeVM(func(id int) {
			p.advance(id, !p.chance(10, "amiss"))
			if rapid.Bool().Draw(p.T, "told") {
				p.hear(p.vms[id])
				p.turn()
			}
		})
	case "tell":
		for _, id := range p.live() {
			p.hear(p.vms[id])
		}
		p.turn()
	case "old news":
		if len(p.history) > 0 {
			p.hear(rapid.SampledFrom(p.history).Draw(p.T, "news"))
			p.turn()
		}
	case "meddle":
		p.onSomeVM(func(id int) { p.meddle(p.T, id) })
	case "network":
		for id := range p.networks {
			p.advanceNetwork(id, !p.chance(4, "network amiss"))
		}
	case "measure":
		p.measure(rapid.SampledFrom([]float64{1, 50, 99}).Draw(p.T, "CPU"))
	case "late call":
		p.applyWire()
	case "leader":
		p.state = flow.Lead(p.state, p.state.Leader.Term+1, p.now)
	case "crash":
		p.crash()
		p.turn()
	case "time":
		p.pass(time.Duration(rapid.IntRange(1, 40).Draw(p.T, "seconds")) * time.Second)
	case "command":
		p.someCommand()
	case "plan":
		p.turn()
	}
}

func (p *player) onSomeVM(act func(id int)) {
	if live := p.live(); len(live) > 0 {
		act(rapid.SampledFrom(live).Draw(p.T, "VM"))
	}
}

func (p *player) applyWire() {
	for _, intent := range p.wire {
		p.late[p.create(intent)] = true
	}
	p.wire = nil
}

func (p *player) someCommand() {
	switch rapid.SampledFrom([]string{"scale", "scale", "scale", "recover", "recover", "undeploy", "delete", "deploy", "release", "release", "add", "remove", "update"}).Draw(p.T, "command") {
	case "scale":
		p.order(flow.VerbScale, flow.ScaleArguments{Role: p.drawRole().Name, Cardinality: rapid.IntRange(0, 4).Draw(p.T, "to")})
	case "recover":
		p.order(flow.VerbRecover, flow.RecoverArguments{})
	case "undeploy":
		p.order(flow.VerbUndeploy, nil)
	case "delete":
		p.order(flow.VerbRecover, flow.RecoverArguments{Delete: true})
	case "deploy":
		p.order(flow.VerbDeploy, nil)
	case "add":
		p.addRole()
	case "remove":
		p.removeRole()
	case "update":
		p.order(flow.VerbUpdate, map[string]any{"append": true, "template": map[string]any{"description": "d"}})
	case "release":
		p.order(flow.VerbRelease, flow.ReleaseArguments{Role: rapid.SampledFrom([]string{"", "a"}).Draw(p.T, "released")})
	}
}

// addRole adds a role with a name that was never there.
func (p *player) addRole() bool {
	p.added++
	role := map[string]any{"name": fmt.Sprintf("n%d", p.added), "type": "vm", "template_id": 0, "cardinality": 1}
	role["parents"] = []string{p.drawRole().Name}
	return p.order(flow.VerbAddRole, map[string]any{"role": role})
}

// removeRole removes a role and leaves at least one.
func (p *player) removeRole() bool {
	if len(p.state.Service.Body.Roles) < 2 {
		return false
	}
	return p.order(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: p.drawRole().Name})
}

// quieten ends all trouble: calls succeed, every VM comes to where it stays and
// is told of, and the time moves from deadline to deadline. The service must
// come to rest.
func (p *player) quieten() {
	p.trouble = false
	p.applyWire()
	for range 60 {
		if p.ended {
			p.checkRest()
			return
		}
		p.startUnready()
		p.heal()
		p.refresh()
		for id, vm := range p.vms {
			p.facts[id] = vm
		}
		p.inspect()
		p.turn()
		due, waits := p.nextDeadline()
		if p.rests(waits) {
			p.checkRest()
			return
		}
		if !waits && !p.ended && !p.stirs() {
			p.Fatalf("nothing will ever wake the service in %s: %+v", p.state.Service.State(), p.state)
		}
		if due.After(p.now) {
			p.now = due
		}
	}
	p.Fatalf("the service does not come to rest in %s: %s", p.state.Service.State(), asJSON(p, p.state))
}

// startUnready has somebody start the VMs that were stopped before they were ready,
// where the service waits for that.
func (p *player) startUnready() {
	gate := p.state.Service.Body.ReadyStatusGate
	if gate == nil || !*gate {
		return
	}
	for _, id := range p.live() {
		if vm := p.vms[id]; vm.Arrived() && !vm.Ready {
			p.become(id, one.VMActive, one.LCMBootPoweroff)
		}
	}
}

// stirs reports whether a VM is on its way, so that an event will come.
func (p *player) stirs() bool {
	for _, id := range p.live() {
		vm := p.vms[id]
		if p.stuck[id] {
			continue
		}
		if vm.State == one.VMPending || vm.State == one.VMActive && onward[vm.LCMState] != 0 || vm.Ending() {
			return true
		}
	}
	return false
}

// rests reports whether the service is in a state in which it may stay, and waits for
// nothing. In WARNING it goes on looking for the warning's end.
func (p *player) rests(waits bool) bool {
	state := p.state.Service.State()
	if state == spec.ServiceWarning || state == spec.ServiceHold {
		comes := slices.ContainsFunc([]string{flow.DeadlineHeal, flow.DeadlineSchedule, flow.DeadlineRefill}, func(name string) bool {
			_, set := p.state.Deadlines[name]
			return set
		})
		return len(p.state.Asked) == 0 && !p.stirs() && !comes
	}
	return (state == spec.ServiceRunning || state.Failed()) && len(p.state.Asked) == 0 && !waits
}
