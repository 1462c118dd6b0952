package flow_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// input is one thing that can come to a service.
type input struct {
	name string
	give func(p *player)
}

// everyCommand has every command, for a service with a role "a" of two VMs.
var everyCommand = []struct {
	name      string
	verb      flow.Verb
	arguments any
}{
	{"deploy", flow.VerbDeploy, nil},
	{"undeploy", flow.VerbUndeploy, nil},
	{"recover", flow.VerbRecover, flow.RecoverArguments{}},
	{"delete", flow.VerbRecover, flow.RecoverArguments{Delete: true}},
	{"scale up", flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 3, Force: true}},
	{"scale to what there is", flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 2, Force: true}},
	{"scale down", flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 1, Force: true}},
	{"release", flow.VerbRelease, flow.ReleaseArguments{}},
	{"add role", flow.VerbAddRole, map[string]any{"role": map[string]any{"name": "n", "type": "vm", "template_id": 0, "cardinality": 1}}},
	{"remove role", flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "a"}},
	{"update", flow.VerbUpdate, map[string]any{"append": true, "template": map[string]any{"description": "d"}}},
}

// inputs are every command, every state of a VM that can be told, and the rest.
func inputs() []input {
	all := []input{
		{"nothing", func(*player) {}},
		{"time", func(p *player) { p.pass(31 * time.Second) }},
		{"much time", func(p *player) { p.pass(2 * time.Hour) }},
		{"little load", func(p *player) { p.measure(1) }},
		{"much load", func(p *player) { p.measure(99) }},
		{"leader", func(p *player) {
			p.state = flow.Lead(flow.Lead(p.state, 1, p.now), 2, p.now)
			p.turn()
		}},
		{"crash", func(p *player) { p.crash(); p.turn() }},
		{"lost record", func(p *player) { p.state = flow.State{Service: p.state.Service}; p.crash(); p.turn() }},
	}
	for _, given := range everyCommand {
		all = append(all, input{given.name, func(p *player) { p.order(given.verb, given.arguments) }})
	}
	for state := one.VMState(0); state <= one.VMCloningFailure; state++ {
		if state == one.VMActive {
			continue
		}
		all = append(all, become(state, one.LCMInit))
	}
	for _, lcm := range []one.LCMState{
		one.LCMProlog, one.LCMBoot, one.LCMRunning, one.LCMUnknown, one.LCMEpilog, one.LCMShutdown, one.LCMBootPoweroff,
		one.LCMBootFailure, one.LCMPrologFailure, one.LCMEpilogFailure,
	} {
		all = append(all, become(one.VMActive, lcm))
	}
	for _, lcm := range append(interrupted, one.LCMInit, one.LCMProlog, one.LCMBoot, one.LCMBootPoweroff, one.LCMShutdown, one.LCMEpilog,
		one.LCMCleanupDelete, lcmRevert) {
		all = append(all, stick(lcm))
	}
	slices.SortFunc(all, func(a, b input) int { return compare(a.name, b.name) })
	return all
}

func compare(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// become is the event that the first VM has come to a state.
func become(state one.VMState, lcm one.LCMState) input {
	return input{fmt.Sprintf("vm %s/%s", state, lcm), func(p *player) {
		if ids := p.live(); len(ids) > 0 {
			p.become(ids[0], state, lcm)
			p.hear(p.vms[ids[0]])
		}
		p.turn()
	}}
}

// stick is the event that the first VM has come to a state which it does not leave by
// itself, and a change of the leader after it.
func stick(lcm one.LCMState) input {
	return input{"stuck vm " + lcm.String(), func(p *player) {
		p.state = flow.Lead(p.state, 1, p.now)
		if ids := p.live(); len(ids) > 0 {
			p.become(ids[0], one.VMActive, lcm)
			p.stuck[ids[0]] = true
			p.hear(p.vms[ids[0]])
		}
		p.turn()
		p.pass(10 * time.Second)
		p.state = flow.Lead(p.state, 2, p.now)
		p.turn()
	}}
}

// kinds are the kinds of service that are put into every pair of states.
var kinds = map[string]string{
	"plain": `"type":"vm"`,
	"rich": `"type":"vm","deadlines":{"pending":70,"deploying":100,"scaling":50,"undeploying":600,"then":"shrink"},"victims":"newest","min_vms":0,"max_vms":5,"heal":{"action":"recreate","after":"20s","max":2},
		"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU > 80","cooldown":3},{"type":"CHANGE","adjust":-1,"expression":"CPU < 20"}],
		"scheduled_policies":[{"type":"CARDINALITY","adjust":2,"start_time":"2026-05-04 10:05:00","last_eval":1777888800}]`,
	"router": `"type":"vr","vrouter_id":20000,"vrouter_ips":[]`,
}

// placed is a service whose document says the pair of states; role a has two VMs
// that run, or none where its state says so, role b runs.
func placed(t fataler, kind string, service spec.ServiceState, role spec.RoleState, networks bool) *player {
	network := ""
	if networks {
		network = `"networks_values":[{"Priv":{"template_id":"0","extra":"","id":7}}],`
	}
	p := playerOf(t, nil, fmt.Sprintf(`{"name":"web","deployment":"straight","state":%d,"automatic_deletion":false,%s"roles":[
		{"name":"a","cardinality":2,"template_id":0,"cooldown":5,"state":%d,"last_vmname":2,%s,"nodes":[]},
		{"name":"b","type":"vm","cardinality":1,"template_id":0,"cooldown":5,"state":2,"last_vmname":1,"parents":["a"],"nodes":[]}]}`,
		int(service), network, int(role), kinds[kind]))
	p.trouble = false
	roles := p.state.Service.Body.Roles
	// Nobody writes these before the last VM is gone.
	gone := service == spec.ServiceDone || service == spec.ServiceUndeployingNets || service == spec.ServiceFailedUndeployingNets
	if !gone {
		p.house(&roles[1], 1)
	}
	if !gone && role != spec.RolePending && role != spec.RoleDone {
		p.house(&roles[0], 2)
	} else {
		roles[0].VRouterID, roles[0].VRouterIPs = nil, nil
	}
	if role == spec.RoleScaling || role == spec.RoleFailedScaling {
		up := spec.ScaleUp
		roles[0].ScaleWay = &up
	}
	if networks && service != spec.ServiceDone {
		p.networks[7] = flow.Network{Name: "Priv", Source: spec.FromTemplate, Called: "Priv-27", ID: 7, State: one.NetworkReady}
	}
	if roles[0].VRouterID != nil {
		p.routers[20000] = flow.Router{Role: "a"}
	}
	p.crash() // so the facts are read, as when a worker takes the service over
	return p
}

// house gives a role so many VMs that run.
func (p *player) house(role *spec.Role, count int) {
	for i := range count {
		id := p.create(flow.Intent{Key: fmt.Sprintf("27-%s-%d-x", role.Name, i), Role: role.Name, Name: fmt.Sprintf("%s_%d", role.Name, i)})
		p.become(id, one.VMActive, one.LCMRunning)
		role.Nodes = append(role.Nodes, spec.NewNode(p.vms[id]))
	}
}

// TestEveryPairOfStatesHasAWayOut puts a service into every pair of its own and
// a role's state, as a document of another server may say it, and gives it
// every input. Every decision keeps the invariants; once the world is quiet the
// service comes to rest; and it can always be deleted.
//
// Each run covers every pair with every input, in one of the kinds of service by
// turns; FLOWJET_STATESPACE=all covers all kinds.
func TestEveryPairOfStatesHasAWayOut(t *testing.T) {
	seen, turn := map[[2]int]int{}, 0
	all := inputs()
	names := []string{"plain", "rich", "router"}
	for _, service := range spec.ServiceStates() {
		for _, role := range spec.RoleStates() {
			for _, given := range all {
				turn++
				for i, kind := range names {
					if os.Getenv("FLOWJET_STATESPACE") != "all" && turn%len(names) != i {
						continue
					}
					live(t, kind, service, role, given, turn%2 == 0)
				}
				seen[[2]int{int(service), int(role)}]++
			}
		}
	}
	for _, service := range spec.ServiceStates() {
		for _, role := range spec.RoleStates() {
			if count := seen[[2]int{int(service), int(role)}]; count != len(all) {
				t.Errorf("service %s with role %s: %d of %d inputs were given", service, role, count, len(all))
			}
		}
	}
}

// failing says which case it was.
type failing struct {
	t    *testing.T
	what string
}

func (f failing) Helper() { f.t.Helper() }

func (f failing) Fatalf(format string, arguments ...any) {
	f.t.Helper()
	f.t.Fatalf(f.what+": "+format, arguments...)
}

func live(t *testing.T, kind string, service spec.ServiceState, role spec.RoleState, given input, networks bool) {
	f := failing{t, fmt.Sprintf("%s service %s with role %s, networks %v, on %q", kind, service, role, networks, given.name)}
	p := placed(f, kind, service, role, networks)
	if !p.ended {
		given.give(p)
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
}
