package flow_test

import (
	"regexp"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// checkExplanation holds every sentence that an explanation says of the state against the
// world: the VMs and networks as they are, and what was decided.
func (p *player) checkExplanation(state flow.State) {
	facts := flow.Facts{}
	for id, vm := range p.vms {
		facts[id] = vm
	}
	state = p.withNetworksOf(state)
	explained := flow.Explain(state, facts, p.now)
	sentences := map[string]bool{}
	for _, list := range [][]flow.Finding{explained.Failed, explained.Waits, explained.Notes} {
		for _, found := range list {
			if sentences[found.Message] {
				p.Fatalf("%q is said twice", found.Message)
			}
			sentences[found.Message] = true
			if wrong := p.contradict(state, found); wrong != "" {
				p.Fatalf("in %s it is said that %q: %s", state.Service.State(), found.Message, wrong)
			}
			if badGrammar.MatchString(found.Message) || found.Message == "" {
				p.Fatalf("that is no sentence: %q", found.Message)
			}
		}
	}
	p.checkAdvice(state, explained)
	p.checkNothingWaitsInVain(state, explained)
	if again := flow.Decide(flow.Input{State: state, Facts: facts, Now: p.now, Settings: p.settings}, nil); len(again.Changes)+len(again.Actions) == 0 {
		p.checkNothingIsMissing(state, explained)
	}
}

// checkStaged does so where a test has set the facts itself.
func (s *stage) checkStaged(state flow.State) {
	p := &player{fataler: s.t, world: newWorld(), now: s.now, settings: s.settings}
	for id, vm := range s.facts {
		p.vms[id] = vm
	}
	for _, network := range state.Networks {
		if network.ID >= 0 {
			p.networks[network.ID] = network
		}
	}
	p.checkExplanation(state)
}

// withNetworksOf is the state with the service's networks as they are.
func (p *player) withNetworksOf(state flow.State) flow.State {
	for _, network := range state.Networks {
		if seen, there := p.networks[network.ID]; there {
			state = flow.IngestNetwork(state, network.Name, network.ID, seen.State)
		}
	}
	return state
}

var badGrammar = regexp.MustCompile(`\b1 VMs\b|\b(0|[2-9]|[0-9]{2,}) VM\b|%!|  | ,|\bVM -`)

// contradict returns what a finding has wrong, empty for nothing.
func (p *player) contradict(state flow.State, found flow.Finding) string {
	if found.VM != nil {
		if wrong := p.contradictVM(state, found); wrong != "" {
			return wrong
		}
	}
	role := findRole(state, found.Role)
	if found.Role != "" && role == nil {
		return "there is no such role"
	}
	switch found.Kind {
	case flow.FoundToCreate, flow.FoundToFind:
		return p.contradictIntent(state, found)
	case flow.FoundToEnd:
		return p.contradictEnds(role, found)
	case flow.FoundLacking:
		if found.Count != len(role.Nodes) || found.Wanted != role.Cardinality || found.Count >= found.Wanted {
			return "the role has what it should have, or other numbers"
		}
	case flow.FoundParent:
		return contradictParent(state, role, found)
	case flow.FoundHold:
		if roleState(*role) != spec.RoleHold || slices.Contains(state.Released, role.Name) {
			return "the role is not on hold, or is released"
		}
	case flow.FoundNetworkFailed, flow.FoundNetworkNotReady, flow.FoundNetworkToDelete, flow.FoundNetworkToMake:
		return p.contradictNetwork(state, found)
	case flow.FoundRetry:
		for _, retry := range state.Retries {
			if retry.Call == found.Action && retry.Message == found.Said {
				return ""
			}
		}
		return "nothing is retried"
	case flow.FoundDeadline:
		wait, runs := state.Waits[found.Role]
		if !runs || strings.ToUpper(wait.For) != found.State || !wait.Due.Equal(found.Due) || wait.Then != found.Action {
			return "no such deadline runs"
		}
		if role != nil && roleState(*role).String() != found.State || role == nil && state.Service.State().String() != found.State {
			return "the service or role is not in that state"
		}
	case flow.FoundCooldown:
		if state.Service.State() != spec.ServiceCooldown || !found.Due.After(p.now) {
			return "there is no cooldown"
		}
	case flow.FoundLogged:
		logged := slices.ContainsFunc(state.Service.Body.Log, func(entry spec.LogEntry) bool {
			return entry.Message == found.Said && entry.Severity == "E"
		})
		if !logged || !state.Service.State().Failed() {
			return "the log does not have it, or the service has not failed"
		}
	}
	return ""
}

// contradictVM holds what is said of a VM against the VM.
func (p *player) contradictVM(state flow.State, found flow.Finding) string {
	vm, there := p.vms[*found.VM]
	switch {
	case there && vm.Gone():
		return "the VM has ended"
	case !there && found.State != "":
		return "there is no such VM"
	case !there:
		return "" // nobody has asked about it
	}
	now := vm.State.String()
	if vm.State == one.VMActive {
		now = vm.LCMState.String()
	}
	if found.State != "" && found.State != now {
		return "the VM is in " + now
	}
	holder := holder(state, vm.ID)
	if orphan := found.Kind == flow.FoundOrphan; orphan != (holder == nil) {
		return "whose the VM is was mistaken"
	}
	gate := state.Service.Body.ReadyStatusGate != nil && *state.Service.Body.ReadyStatusGate
	switch found.Kind {
	case flow.FoundNotRunning:
		if vm.Running() || vm.Failed() {
			return "the VM runs, or will not"
		}
	case flow.FoundNotReady:
		if vm.Ready || !gate {
			return "nobody waits for READY"
		}
	case flow.FoundRetried:
		if !vm.Failed() {
			return "the VM has not failed"
		}
	case flow.FoundVM:
		if vm.Running() {
			return "the VM runs"
		}
	case flow.FoundEnding, flow.FoundOrphan:
		if !vm.Ending() && !strings.HasPrefix(state.Asked[vm.ID].Action, "terminate") && state.Asked[vm.ID].Action != "recover-delete" {
			return "nobody has asked the VM to end"
		}
	}
	return ""
}

func (p *player) contradictIntent(state flow.State, found flow.Finding) string {
	at := slices.IndexFunc(state.Intents, func(i flow.Intent) bool { return i.Name == found.Name && i.Role == found.Role })
	if at < 0 {
		return "no such VM is decided on"
	}
	for _, vm := range p.vms {
		if vm.Key == state.Intents[at].Key && state.Service.Owns(vm) && found.Attempts == 0 && found.Kind == flow.FoundToCreate {
			return "the VM is there"
		}
	}
	return ""
}

func (p *player) contradictEnds(role *spec.Role, found flow.Finding) string {
	there := 0
	for _, node := range role.Nodes {
		if !p.vms[node.DeployID].Gone() {
			there++
		}
	}
	shrinks := role.ScaleWay != nil && *role.ScaleWay == spec.ScaleDown
	if found.Count > there || !shrinks && roleState(*role) != spec.RoleUndeploying {
		return "so many are not there, or are not to end"
	}
	return ""
}

func contradictParent(state flow.State, role *spec.Role, found flow.Finding) string {
	parent := findRole(state, found.Parent)
	switch {
	case !slices.Contains(role.Parents, found.Parent) || state.Service.Body.Deployment != spec.DeploymentStraight:
		return "nobody waits for that role"
	case parent == nil && found.State == "":
		return ""
	case parent == nil || roleState(*parent).String() != found.State:
		return "the parent is in another state"
	case roleState(*parent) == spec.RoleRunning || roleState(*parent) == spec.RoleWarning:
		return "the parent runs"
	}
	return ""
}

func (p *player) contradictNetwork(state flow.State, found flow.Finding) string {
	at := slices.IndexFunc(state.Networks, func(n flow.Network) bool { return n.Name == found.Network })
	if at < 0 {
		return "the service has no such network"
	}
	network, there := p.networks[state.Networks[at].ID]
	if there && found.State != network.State.String() {
		return "the network is in " + network.State.String()
	}
	if ready := there && network.State == one.NetworkReady; ready && found.Kind == flow.FoundNetworkNotReady {
		return "it is"
	}
	return ""
}

func findRole(state flow.State, name string) *spec.Role {
	at := slices.IndexFunc(state.Service.Body.Roles, func(r spec.Role) bool { return r.Name == name })
	if at < 0 {
		return nil
	}
	return &state.Service.Body.Roles[at]
}

// checkNothingWaitsInVain: a service that has failed waits for nobody's VMs, and one that
// runs for nothing that it could not do without.
func (p *player) checkNothingWaitsInVain(state flow.State, explained flow.Explanation) {
	for _, found := range explained.Waits {
		kept := found.Kind == flow.FoundRetry || found.Kind == flow.FoundNetworkToDelete || found.Kind == flow.FoundMore || found.Kind == flow.FoundLeftAlone
		if state.Service.State().Failed() && !kept {
			p.Fatalf("a service in %s is said to wait: %q", state.Service.State(), found.Message)
		}
		if state.Service.State() == spec.ServiceRunning && !kept && found.Kind != flow.FoundToCreate {
			p.Fatalf("a running service is said to wait: %q", found.Message)
		}
	}
	if state.Service.State() == spec.ServiceRunning && len(explained.Failed) > 0 {
		p.Fatalf("a running service is said to have failed: %q", explained.Failed[0].Message)
	}
}

// checkNothingIsMissing: where nothing is left to decide, something is named for which the
// service waits, of every role that waits.
func (p *player) checkNothingIsMissing(state flow.State, explained flow.Explanation) {
	at := state.Service.State()
	said := slices.Concat(explained.Failed, explained.Waits)
	if (at.Waiting() || at == spec.ServiceWarning) && len(said) == 0 {
		p.Fatalf("nothing is said of a service in %s: %s", at, asJSON(p, state))
	}
	for _, role := range state.Service.Body.Roles {
		waits := roleState(role) == spec.RoleDeploying || roleState(role) == spec.RoleScaling
		named := func(f flow.Finding) bool { return f.Role == role.Name || f.Kind == flow.FoundMore }
		if waits && (at == spec.ServiceDeploying || at == spec.ServiceScaling) && !slices.ContainsFunc(said, named) {
			p.Fatalf("nothing is said of role %s in %s: %s", role.Name, roleState(role), asJSON(p, state))
		}
	}
}

var (
	commands = regexp.MustCompile("`[^`]*`")
	// pasted are the commands that an explanation may tell somebody to give.
	pasted = regexp.MustCompile("^`(oneflow (recover|recover --delete|release|update) [0-9]+|oneflow scale [0-9]+ [a-zA-Z0-9]+ [0-9]+( --force)?|oneflow remove-role [0-9]+ [a-zA-Z0-9]+|onevm (show|resume|recover --retry|recover --failure|recover --delete) [0-9]+|onevnet (show|recover --delete) [0-9]+|flowjet doctor)`$")
)

// checkAdvice: what is to be typed can be.
func (p *player) checkAdvice(state flow.State, explained flow.Explanation) {
	for _, next := range explained.Next {
		for _, command := range commands.FindAllString(next, -1) {
			if !pasted.MatchString(command) {
				p.Fatalf("%s cannot be pasted", command)
			}
		}
	}
	if failed := state.Service.State().Failed() || state.Service.State() == spec.ServiceWarning; failed && len(explained.Next) == 0 {
		p.Fatalf("there is no advice in %s", state.Service.State())
	}
}
