package flow

import (
	"fmt"
	"strings"

	"github.com/flowjet/flowjet/flow/spec"
)

const (
	// maxReasons is how many reasons a service's transition names.
	maxReasons = 5
	// maxDone is how many calls a transition names one by one.
	maxDone = 10
)

// giveReasons has a service's transition into trouble say by itself what is
// wrong: who reads it should not have to look for the role's.
func (p *planner) giveReasons() {
	for i := range p.changes {
		change := &p.changes[i]
		if change.Kind == "service" && change.Reason == "" && (troubled(change.New) || change.New == spec.ServiceUndeploying.String()) {
			change.Reason = p.reasons() // nothing, where somebody asked for the end
		}
	}
}

// troubled reports whether a service in the state needs somebody to look.
func troubled(state string) bool {
	return state == spec.ServiceWarning.String() || strings.HasPrefix(state, "FAILED_")
}

// reasons are those of the roles that came into trouble in this decision, or
// else the errors that it wrote into the log.
func (p *planner) reasons() string {
	var found []string
	for _, change := range p.changes {
		if change.Kind == "role" && change.Reason != "" && troubled(change.New) {
			found = append(found, fmt.Sprintf("role %s: %s", change.Role, change.Reason))
		}
	}
	if len(found) == 0 {
		found = p.errors
	}
	return strings.Join(shortened(found, maxReasons), "; ")
}

// shortened is a list that names its surplus only by number.
func shortened(list []string, most int) []string {
	if len(list) <= most {
		return list
	}
	return append(list[:most:most], fmt.Sprintf("and %d more", len(list)-most))
}

// Describe says in a few words each what a decision's calls to oned do, for the
// history: "create VM Slave_0_(service_42)". A long list ends with how many more
// there are.
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
