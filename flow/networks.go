package flow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
)

const noNetwork = -1

// Network is a virtual network that the service has made for itself, or is to make. Its name at oned contains the service's id, and oned
// gives a name to only one network of a user: that makes it safe to repeat its creation.
type Network struct {
	// Name is the service's name for it, in networks_values.
	Name   string             `json:"name"`
	Source spec.NetworkSource `json:"source"`
	// From is the network template's or the parent network's id.
	From int `json:"from"`
	// Called is the network's name at oned: <Name>-<service id>, with an abridged Name if that is too long.
	Called string `json:"called"`
	// Extra is the template text for making it.
	Extra string `json:"extra,omitempty"`
	// ID is oned's id, -1 while there is none.
	ID int `json:"id"`
	// State is as last fetched.
	State one.NetworkState `json:"state"`
	// Attempted is whether a call to make it may have been sent.
	Attempted bool `json:"attempted,omitempty"`
	// Asked is when its deletion was asked for.
	Asked time.Time `json:"asked,omitzero"`
	// Waits is the state in which the service waits for it, and Since is when that began.
	Waits one.NetworkState `json:"waits,omitempty"`
	Since time.Time        `json:"since,omitzero"`
	// Left is why the network was left as it is whose id the service's document had before.
	Left string `json:"left,omitempty"`
}

// networkOverdue reports whether the service has waited for the network for too long: an answer of its driver is lost with the process of a
// zone's old leader.
func (n networker) networkOverdue(network *Network) bool {
	if network.Since.IsZero() || network.Waits != network.State {
		network.Waits, network.Since = network.State, n.now
	}
	limits := n.settings.VMDeadlines
	if limits.LeaderChange > 0 && network.Since.Before(n.Leader.Since) && !n.now.Before(n.Leader.Since.Add(limits.LeaderChange)) {
		return true
	}
	return limits.Network > 0 && !n.now.Before(network.Since.Add(limits.Network))
}

// IsMade reports whether a network of the service's owner, as oned shows it, is this one.
func (n Network) IsMade(name string, parent, template int) bool {
	from := template
	if n.Source == spec.FromReservation {
		from = parent
	}
	return name == n.Called && from == n.From
}

func (n Network) stay() string {
	return fmt.Sprintf("Network %s (%d) has been in %s since %s: `onevnet recover` resolves this", n.Name, n.ID, n.State, utc(n.Since))
}

// syncNetworks updates the list of the service's own networks by its document. Networks that were there before the service are not its own.
func (n networker) syncNetworks() {
	if n.Service.State() == spec.ServiceDone {
		return
	}
	for name, choice := range spec.ChosenNetworks(n.Service.Body.NetworksValues) {
		network, own := n.wantedNetwork(name, choice)
		known := n.network(name)
		switch {
		case !own:
		case known == nil:
			n.Networks = append(n.Networks, network)
		case known.ID == noNetwork:
			known.ID = network.ID
		case network.ID == noNetwork: // another server wrote the document without it
			n.writeNetwork(*known)
		}
	}
}

func (n networker) wantedNetwork(name string, choice raw.Object) (Network, bool) {
	for _, source := range []spec.NetworkSource{spec.FromTemplate, spec.FromReservation} {
		from, named := raw.Whole(choice[string(source)])
		if !named {
			continue
		}
		suffix := "-" + strconv.Itoa(n.Service.ID)
		network := Network{
			Name: name, Source: source, From: from, Called: abridge(name, spec.MaxName-len(suffix)) + suffix,
			Extra: raw.Text(choice["extra"]), ID: noNetwork,
		}
		if id, made := raw.Whole(choice["id"]); made {
			network.ID, network.Attempted = id, true
		} else if source == spec.FromReservation {
			// OneFlow appends the name. Of several names oned uses the first: before one of the text's own, which is not the service's alone, goes the network's.
			called := fmt.Sprintf("NAME=\"%s\"\n", one.Escape(network.Called))
			if _, has := one.LastValue(network.Extra, "NAME"); has {
				network.Extra = called + network.Extra
			} else {
				network.Extra += "\n" + called
			}
		}
		return network, true
	}
	return Network{}, false
}

// OwnNetworks returns the networks that the service has made for itself, by the ids in its document.
func OwnNetworks(service spec.Service) []Network {
	p := newPlanner(Input{State: State{Service: service}})
	p.networker.syncNetworks()
	return slices.DeleteFunc(p.Networks, func(n Network) bool { return n.ID == noNetwork })
}

func (n networker) network(name string) *Network {
	for i := range n.Networks {
		if n.Networks[i].Name == name {
			return &n.Networks[i]
		}
	}
	return nil
}

// deployNetworks makes the service's own networks and waits until they are READY. Those of an earlier failure are removed first. Then every
// role gets the template contents for its VMs.
func (n networker) deployNetworks() {
	waiting := false
	for i := range n.Networks {
		network := &n.Networks[i]
		switch {
		case !network.Asked.IsZero():
			n.removeNetwork(network)
		case network.ID == noNetwork:
			network.Attempted = true
			n.requester.act(Action{Kind: ActionCreateNetwork, Network: *network})
		case network.State == one.NetworkReady:
			continue
		case network.State.Failed():
			n.failNetworks(fmt.Sprintf("Network %s (%d) is in %s", network.Name, network.ID, network.State))
			return
		case n.networkOverdue(network):
			n.failNetworks(network.stay())
			return
		}
		waiting = true
	}
	if waiting {
		return
	}
	if !render.FillAll(&n.Service.Body, n.routing.nameRouter) {
		const tooLong = "The values of user inputs are put into each role's template_contents, which then have more than %d bytes together"
		n.failNetworks(fmt.Sprintf(tooLong, spec.MaxBody))
		return
	}
	runs := func(role spec.Role) bool { return !n.deployer.holds(&role) }
	if len(n.Service.Body.Roles) == 0 || slices.ContainsFunc(n.Service.Body.Roles, runs) {
		n.to(spec.ServiceDeploying)
	} else {
		n.to(spec.ServiceHold)
	}
}

func (n networker) failNetworks(reason string) {
	n.log("E", "%s", reason)
	n.actions = slices.DeleteFunc(n.actions, func(a Action) bool { return a.Kind == ActionCreateNetwork })
	n.to(spec.ServiceFailedDeployingNets)
}

func (n networker) removeNetworks() bool {
	left := false
	for i := range n.Networks {
		left = n.removeNetwork(&n.Networks[i]) || left
	}
	return left
}

// removeNetwork asks for the network's deletion, and reports whether it exists, or may.
func (n networker) removeNetwork(network *Network) bool {
	held := n.requester.held(Action{Kind: ActionDeleteNetwork, Network: *network}.Name())
	switch {
	case network.ID == noNetwork && !network.Attempted:
		network.Asked = time.Time{}
		return false
	case network.ID == noNetwork:
		n.requester.act(Action{Kind: ActionFindNetwork, Network: *network})
	case (network.State != one.NetworkLockDelete || network.Asked.IsZero()) && !held && !n.now.Before(network.Asked.Add(n.settings.CheckInterval)):
		network.Asked = n.now
		n.actions = append(n.actions, Action{Kind: ActionDeleteNetwork, Network: *network})
	}
	return true
}

// networksLeft reports whether the service has networks of its own, or may have.
func (n networker) networksLeft() bool {
	return slices.ContainsFunc(n.Networks, func(n Network) bool { return n.ID != noNetwork || n.Attempted })
}

func (n networker) undeployNetworks() {
	if !n.removeNetworks() {
		n.to(spec.ServiceDone)
		return
	}
	for i := range n.Networks {
		network := &n.Networks[i]
		if network.ID != noNetwork && network.State == one.NetworkLockDelete && n.networkOverdue(network) {
			n.refuseNetworkEnd(network.stay())
			return
		}
	}
}

// DoubtRequests returns the state with all requests to VMs, networks and virtual routers in doubt: after a crash their effects are
// looked up, or they are repeated. A VM that is not on its way as far as the state knows may be so since the service began, and under an
// earlier leader: the state may be a lost record's.
func DoubtRequests(state State) State {
	p := newPlanner(Input{State: state})
	doubted := p.Asked
	for id, asked := range doubted {
		asked.At, asked.Doubt = time.Time{}, asked.helps()
		doubted[id] = asked
	}
	p.requester.forgetAsked()
	p.Asked = doubted
	for i := range p.Routers {
		if router := &p.Routers[i]; router.Left == "" {
			router.Attempts = max(1, router.Attempts)
		}
	}
	for role := range p.Service.Body.EachRole() {
		for _, node := range role.Nodes {
			if _, known := p.Stays[node.DeployID]; !known {
				set(&p.Stays, node.DeployID, Stay{First: p.Service.Body.Started()})
			}
		}
	}
	return p.State
}

// WatchesNetworks reports whether decisions wait for the service's own networks.
func WatchesNetworks(state State) bool {
	of := []spec.ServiceState{spec.ServiceDeployingNets, spec.ServiceUndeployingNets, spec.ServiceFailedDeployingNets, spec.ServiceFailedUndeployingNets}
	return slices.Contains(of, state.Service.State())
}

// IngestNetwork returns the state with a network of the service's own as oned shows it. A network that is DONE, or that oned does not have, is
// gone: it can be made again.
func IngestNetwork(state State, name string, id int, seen one.NetworkState) State {
	p := newPlanner(Input{State: state})
	network := p.networker.network(name)
	if network == nil {
		return state
	}
	p.networker.ingest(network, id, seen)
	return p.State
}

func (n networker) ingest(network *Network, id int, seen one.NetworkState) {
	network.ID, network.State, network.Attempted, network.Left = id, seen, true, ""
	if seen == one.NetworkDone {
		network.ID, network.State, network.Attempted, network.Asked = noNetwork, one.NetworkInit, false, time.Time{}
	}
	n.writeNetwork(*network)
}

// writeNetwork writes the network's id into the document, as OneFlow does.
func (n networker) writeNetwork(network Network) {
	values, err := spec.ReadNetworkValues(n.Service.Body.NetworksValues, true)
	if err != nil {
		return
	}
	for _, value := range values {
		choice, is := value[network.Name]
		if !is {
			continue
		}
		if network.ID == noNetwork {
			delete(choice, "id")
		} else {
			choice["id"] = raw.Marshal(network.ID)
		}
		if network.Source == spec.FromReservation {
			choice["extra"] = raw.Marshal(network.Extra)
		}
	}
	n.Service.Body.NetworksValues = raw.Marshal(values)
}

func (n networker) refuseNetworkEnd(reason string) {
	switch n.Service.State() {
	case spec.ServiceUndeployingNets:
		n.log("E", "%s", reason)
		n.to(spec.ServiceFailedUndeployingNets)
	case spec.ServiceDeployingNets:
		n.failNetworks(reason)
	case spec.ServiceFailedDeployingNets:
		log := n.Service.Body.Log
		if len(log) == 0 || log[len(log)-1].Message != reason {
			n.log("E", "%s", reason)
		}
	}
}

// Router is the plan for the virtual router of a role of type vr. Its id, once there is one, is in the role.
type Router struct {
	Role string `json:"role"`
	// Key is unique for all time; the router carries it as FLOWJET_KEY.
	Key string `json:"key"`
	// Attempts counts the calls to make it whose outcome is unknown.
	Attempts int `json:"attempts,omitempty"`
	// Asked is when its deletion was asked for.
	Asked time.Time `json:"asked,omitzero"`
	// Left is why the virtual router was left as it is whose id the role had before.
	Left string `json:"left,omitempty"`
}

func (r routing) router(role string) *Router {
	at := slices.IndexFunc(r.Routers, func(r Router) bool { return r.Role == role })
	if at >= 0 {
		return &r.Routers[at]
	}
	stamp := strconv.FormatInt(r.now.UnixMicro(), 36)
	r.Routers = append(r.Routers, Router{Role: role, Key: fmt.Sprintf("%d-%s-router-%s", r.Service.ID, role, stamp)})
	return &r.Routers[len(r.Routers)-1]
}

func (r routing) forgetRouter(role string) {
	r.Routers = slices.DeleteFunc(r.Routers, func(r Router) bool { return r.Role == role })
}

// endRouter ends the role's virtual router, which ends its VMs: oned does not let them be ended one by one. It reports whether the router
// exists, or may.
func (r routing) endRouter(role *spec.Role) bool {
	if !role.IsRouter() {
		return false
	}
	router := r.router(role.Name)
	held := r.requester.held(Action{Kind: ActionDeleteRouter, Role: role.Name}.Name())
	switch {
	case role.VRouterID == nil && router.Left != "":
		return false
	case role.VRouterID == nil && router.Attempts == 0:
		r.forgetRouter(role.Name)
		return false
	case role.VRouterID == nil:
		r.requester.act(Action{Kind: ActionFindRouter, Role: role.Name, Router: *router})
	case !held && !r.now.Before(router.Asked.Add(r.settings.CheckInterval)):
		router.Asked = r.now
		r.requester.act(Action{Kind: ActionDeleteRouter, Role: role.Name, Router: *router})
	}
	return true
}

// nameRouter writes the router's name into the role's template_contents, after everything else, as recorded.
func (r routing) nameRouter(role *spec.Role) {
	if !role.IsRouter() || raw.KindOf(role.TemplateContents) != raw.KindObject { // otherwise oned refuses to make it
		return
	}
	if _, named := raw.Attributes(role.TemplateContents)["NAME"]; named {
		return
	}
	name := r.nameFrom(cmp.Or(r.settings.VRNameTemplate, defaultRouterName), role, "$VM_NUMBER")
	rest := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(role.TemplateContents)), "}"))
	if rest != "{" {
		rest += ","
	}
	role.TemplateContents = json.RawMessage(rest + `"NAME":` + string(raw.Marshal(name)) + "}")
}

// IngestRouter returns the state with the role's virtual router as oned shows it.
func IngestRouter(state State, role string, id int, addresses []one.FloatingIP) State {
	p := newPlanner(Input{State: state})
	held := p.Service.Role(role)
	if held == nil {
		return state
	}
	held.VRouterID = &id
	held.VRouterIPs = raw.Marshal(append([]one.FloatingIP{}, addresses...))
	return p.State
}

// DoubtRouter returns the state in which the role's virtual router may have been made although no answer came.
func DoubtRouter(state State, role string) State {
	p := newPlanner(Input{State: state})
	p.routing.router(role).Attempts++
	return p.State
}

func (r routing) gone(role string) {
	if held := r.Service.Role(role); held != nil {
		held.VRouterID, held.VRouterIPs = nil, nil
	}
	r.forgetRouter(role)
}

// RouterGone returns the state without the role's virtual router: it was deleted, or was not made after all.
func RouterGone(state State, role string) State {
	p := newPlanner(Input{State: state})
	p.routing.gone(role)
	return p.State
}
