package flow

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowjet/flowjet/flow/one"
)

// What a virtual router's transition says.
const (
	routerCreated = "created"
	routerDeleted = "deleted"
)

// NetworkDeleted is the last state that is told of a network.
const NetworkDeleted = "DELETED"

// NodeChanges are what became of the networks and virtual routers that a service
// made for itself, between two states of it. They follow from the states alone, so
// that whoever commits the later state tells each of them once.
func NodeChanges(before, after State) []Change {
	return append(networkChanges(before, after), routerChanges(before, after)...)
}

func networkChanges(before, after State) []Change {
	known := map[string]Network{}
	for _, network := range before.Networks {
		known[network.Name] = network
	}
	var changes []Change
	for _, network := range after.Networks {
		was, had := known[network.Name]
		if !had {
			was.ID = noNetwork
		}
		if change, changed := networkChange(was, network); changed {
			changes = append(changes, change)
		}
	}
	return changes
}

func networkChange(was, is Network) (Change, bool) {
	change := Change{Kind: "network", Network: is.Name}
	if was.ID != noNetwork {
		change.Old, change.ID = was.State.String(), new(was.ID)
	}
	switch {
	case is.ID == noNetwork && was.ID == noNetwork, is.ID == was.ID && is.State == was.State:
		return Change{}, false
	case was.ID == noNetwork && is.State == one.NetworkInit:
		return Change{}, false // known by its id, not looked at yet
	case is.ID == noNetwork:
		change.New = NetworkDeleted
	default:
		change.New, change.ID = is.State.String(), new(is.ID)
		change.Reason = fmt.Sprintf("%s, from %s %d", is.Called, is.Source, is.From)
	}
	return change, true
}

func routerChanges(before, after State) []Change {
	had := routersOf(before)
	var changes []Change
	for _, role := range after.Service.Body.Roles {
		was, known := had[role.Name]
		delete(had, role.Name)
		switch {
		case role.VRouterID != nil && (!known || was != *role.VRouterID):
			changes = append(changes, Change{Kind: "router", Role: role.Name, ID: new(*role.VRouterID), New: routerCreated})
		case role.VRouterID == nil && known:
			changes = append(changes, Change{Kind: "router", Role: role.Name, ID: new(was), Old: routerCreated, New: routerDeleted})
		}
	}
	for _, role := range slices.Sorted(maps.Keys(had)) { // the role itself is gone
		changes = append(changes, Change{Kind: "router", Role: role, ID: new(had[role]), Old: routerCreated, New: routerDeleted})
	}
	return changes
}

// routersOf are the virtual routers by role.
func routersOf(state State) map[string]int {
	routers := map[string]int{}
	for _, role := range state.Service.Body.Roles {
		if role.VRouterID != nil {
			routers[role.Name] = *role.VRouterID
		}
	}
	return routers
}
