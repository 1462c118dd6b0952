package flow

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowjet/flowjet/flow/one"
)

const (
	// maxReasons is how many reasons a service's transition names.
	maxReasons = 5
	// maxDone is how many calls a transition names one by one.
	maxDone = 10
)

// shortened is a list that names its surplus only by number.
func shortened(list []string, most int) []string {
	if len(list) <= most {
		return list
	}
	return append(list[:most:most], fmt.Sprintf("and %d more", len(list)-most))
}

// Describe says in a few words each what a decision's calls to oned do, for the history: "create VM
// Slave_0_(service_42)". A long list ends with how many more there are.
func Describe(actions []Action) []string {
	var done []string
	for _, action := range actions {
		done = append(done, action.describe())
	}
	return shortened(done, maxDone)
}

func (a Action) describe() string {
	switch a.Kind {
	case ActionCreateVM:
		return "create VM " + a.Intent.Name
	case ActionFindVM:
		return "look for VM " + a.Intent.Name
	case ActionVM, ActionRecoverVM:
		return fmt.Sprintf("%s VM %d", a.Call, a.VM)
	case ActionCreateNetwork:
		return "create network " + a.Network.Called
	case ActionFindNetwork:
		return "look for network " + a.Network.Called
	case ActionDeleteNetwork:
		return fmt.Sprintf("delete network %s (%d)", a.Network.Called, a.Network.ID)
	case ActionCreateRouter:
		return "create the virtual router of role " + a.Role
	case ActionFindRouter:
		return "look for the virtual router of role " + a.Role
	case ActionDeleteRouter:
		return "delete the virtual router of role " + a.Role
	case ActionDeleteDocument:
		return "delete the service's document"
	}
	return string(a.Kind)
}

// NetworkDeleted is the last state that is told of a network.
const NetworkDeleted = "DELETED"

// NodeChanges are what became of the networks and virtual routers that a service made for itself, between two states of
// it. They follow from the states alone, so that whoever commits the later state tells each of them once.
func NodeChanges(before, after State) []Change {
	networks, routers := map[string]Network{}, map[string]int{}
	for _, network := range before.Networks {
		networks[network.Name] = network
	}
	for _, role := range before.Service.Body.Roles {
		if role.VRouterID != nil {
			routers[role.Name] = *role.VRouterID
		}
	}
	var changes []Change
	for _, is := range after.Networks {
		was, had := networks[is.Name]
		if !had {
			was.ID = noNetwork
		}
		change := Change{Kind: "network", Network: is.Name}
		if was.ID != noNetwork {
			change.Old, change.ID = was.State.String(), new(was.ID)
		}
		switch {
		case is.ID == was.ID && (is.ID == noNetwork || is.State == was.State):
			continue
		case was.ID == noNetwork && is.State == one.NetworkInit:
			continue // known by its id, not looked at yet
		case is.ID == noNetwork:
			change.New = NetworkDeleted
		default:
			change.New, change.ID = is.State.String(), new(is.ID)
			change.Reason = fmt.Sprintf("%s, from %s %d", is.Called, is.Source, is.From)
		}
		changes = append(changes, change)
	}
	const created, deleted = "created", "deleted"
	for _, role := range after.Service.Body.Roles {
		was, known := routers[role.Name]
		delete(routers, role.Name)
		switch {
		case role.VRouterID != nil && (!known || was != *role.VRouterID):
			changes = append(changes, Change{Kind: "router", Role: role.Name, ID: new(*role.VRouterID), New: created})
		case role.VRouterID == nil && known:
			changes = append(changes, Change{Kind: "router", Role: role.Name, ID: new(was), Old: created, New: deleted})
		}
	}
	for _, role := range slices.Sorted(maps.Keys(routers)) { // the role itself is gone
		changes = append(changes, Change{Kind: "router", Role: role, ID: new(routers[role]), Old: created, New: deleted})
	}
	return changes
}
