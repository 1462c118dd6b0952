package flow

import (
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// unheard is how many looks VMs that have been made may take to come up before they are looked
// at although all that happens to VMs is heard.
const unheard = 4

// AwaitsNewVMs reports whether all that the service waits for is that VMs come up which were
// made not long ago by the zone's leader of today, and nothing is to be done about them by
// now: oned's scheduler takes its time, and the end of that is heard.
func AwaitsNewVMs(state State, facts Facts, now time.Time, settings Settings) bool {
	if now.Before(state.Leader.Since) || len(state.Asked)+len(state.Intents) > 0 {
		return false
	}
	switch state.Service.State() {
	case spec.ServiceDeploying, spec.ServiceScaling:
	default:
		return false
	}
	for _, wait := range state.Waits {
		if !now.Before(wait.Due) {
			return false
		}
	}
	patience := unheard * settings.Look
	for _, limit := range []time.Duration{settings.VMDeadlines.Prolog, settings.VMDeadlines.Boot} {
		if limit > 0 {
			patience = min(patience, limit)
		}
	}
	awaits := false
	for _, role := range state.Service.Body.Roles {
		for _, node := range role.Nodes {
			vm, known := facts[node.DeployID]
			stay := state.Stays[node.DeployID]
			isNew := !stay.First.IsZero() && now.Before(stay.First.Add(patience)) && stay.First.After(state.Leader.Since)
			untroubled := stay.Error == "" && (stay.Due.IsZero() || now.Before(stay.Due))
			switch {
			case known && vm.Running() && (vm.Ready || !flag(state.Service.Body.ReadyStatusGate)):
			case known && vm.State == one.VMPending && isNew && untroubled:
				awaits = true
			default:
				return false
			}
		}
	}
	return awaits
}
