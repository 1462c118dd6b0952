package flow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Router is what was decided about the virtual router of a role of type vr. Its
// id, once there is one, stands in the role.
type Router struct {
	Role string `json:"role"`
	// Key is unique for all time; the router carries it as FLOWJET_KEY.
	Key string `json:"key"`
	// Attempts counts the calls to make it whose outcome is unknown.
	Attempts int `json:"attempts,omitempty"`
	// Asked is when its deletion was asked for.
	Asked time.Time `json:"asked,omitzero"`
}

// FloatingIP is an address that the VMs of a virtual router share, as OneFlow
// writes it into vrouter_ips.
type FloatingIP struct {
	NetworkID int    `json:"NETWORK_ID"`
	Address   string `json:"VROUTER_IP"`
}

// Router is the id of the role's virtual router, false if it has none.
func (s Service) Router(role string) (int, bool) {
	held := s.role(role)
	if held == nil || held.VRouterID == nil {
		return 0, false
	}
	return *held.VRouterID, true
}

// isRouter reports whether the role's VMs are those of a virtual router.
func (r *Role) isRouter() bool { return r.Type == RoleTypeVR }

// router is what was decided about the role's virtual router.
func (p *planner) router(role string) *Router {
	at := slices.IndexFunc(p.Routers, func(r Router) bool { return r.Role == role })
	if at >= 0 {
		return &p.Routers[at]
	}
	stamp := strconv.FormatInt(p.now.UnixMicro(), 36)
	p.Routers = append(p.Routers, Router{Role: role, Key: fmt.Sprintf("%d-%s-router-%s", p.Service.ID, role, stamp)})
	return &p.Routers[len(p.Routers)-1]
}

// forgetRouter drops what was decided about a router that is gone.
func (p *planner) forgetRouter(role string) {
	p.Routers = slices.DeleteFunc(p.Routers, func(r Router) bool { return r.Role == role })
}

// lacksRouter reports whether the role's virtual router has to come before its VMs,
// and has it made.
func (p *planner) lacksRouter(role *Role) bool {
	if !role.isRouter() || role.VRouterID != nil {
		return false
	}
	p.actOnRouter(ActionCreateRouter, *p.router(role.Name))
	return true
}

// actOnRouter adds an action on a router once.
func (p *planner) actOnRouter(kind ActionKind, router Router) {
	if !slices.ContainsFunc(p.actions, func(a Action) bool { return a.Kind == kind && a.Role == router.Role }) {
		p.act(Action{Kind: kind, Role: router.Role, Router: router})
	}
}

// endRouter ends the role's virtual router, which ends its VMs: oned does not
// let them be ended one by one. It reports whether it is there, or may be.
func (p *planner) endRouter(role *Role) bool {
	if !role.isRouter() {
		return false
	}
	router := p.router(role.Name)
	held := p.held(retryName(ActionDeleteRouter, role.Name))
	switch {
	case role.VRouterID == nil && router.Attempts == 0:
		p.forgetRouter(role.Name)
		return false
	case role.VRouterID == nil:
		p.actOnRouter(ActionFindRouter, *router)
	case !held && !p.now.Before(router.Asked.Add(p.settings.Look)):
		router.Asked = p.now
		p.actOnRouter(ActionDeleteRouter, *router)
	}
	return true
}

// nameRouter writes the router's name into the role's template_contents, after
// everything else, as recorded.
func (p *planner) nameRouter(role *Role) {
	if !role.isRouter() {
		return
	}
	if _, named := attributesOf(role.TemplateContents)["NAME"]; named {
		return
	}
	member := `"NAME":` + string(mustMarshal(p.routerName(role))) + "}"
	rest := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(role.TemplateContents)), "}"))
	if rest != "{" {
		rest += ","
	}
	role.TemplateContents = json.RawMessage(rest + member)
}

func (p *planner) routerName(role *Role) string {
	return strings.NewReplacer(
		"$SERVICE_ID", strconv.Itoa(p.Service.ID),
		"$SERVICE_NAME", p.Service.Body.Name,
		"$ROLE_NAME", role.Name,
	).Replace(p.settings.routerNameTemplate())
}

// SeeRouter is the state with the role's virtual router as oned shows it.
func SeeRouter(state State, role string, id int, addresses []FloatingIP) State {
	p := planner{State: state.clone()}
	held := p.role(role)
	if held == nil {
		return state
	}
	held.VRouterID = &id
	held.VRouterIPs = mustMarshal(append([]FloatingIP{}, addresses...))
	return p.State
}

// RouterGone is the state without the role's virtual router: it was deleted, or
// was not made after all.
func RouterGone(state State, role string) State {
	p := planner{State: state.clone()}
	if held := p.role(role); held != nil {
		held.VRouterID, held.VRouterIPs = nil, nil
	}
	p.forgetRouter(role)
	return p.State
}

// DoubtRouter is the state in which the role's virtual router may have been
// made although no answer came.
func DoubtRouter(state State, role string) State {
	p := planner{State: state.clone()}
	p.router(role).Attempts++
	return p.State
}

// RefuseRouter tells the state that oned refused to make a virtual router.
func RefuseRouter(state State, role, message string, facts Facts, now time.Time, settings Settings) Decision {
	p := newPlanner(state, facts, now, settings)
	held := p.role(role)
	p.forgetRouter(role)
	if held != nil && (held.state() == RoleDeploying || held.state() == RoleHold) {
		p.failRole(held, RoleFailedDeploying, "the virtual router could not be made: "+message)
	}
	p.settle()
	return p.decision()
}

// RefuseRouterEnd tells the state that oned refused to delete a virtual router.
func RefuseRouterEnd(state State, role, message string, facts Facts, now time.Time, settings Settings) Decision {
	p := newPlanner(state, facts, now, settings)
	if held := p.role(role); held != nil && held.state() == RoleUndeploying {
		p.failRole(held, RoleFailedUndeploying, "the virtual router cannot be deleted: "+message)
	}
	p.settle()
	return p.decision()
}

// RouterTemplate is the template text that the role's virtual router is made
// with; base is the role's VM template.
func RouterTemplate(service Service, router Router, base Template, values map[string]string) (string, error) {
	return ExtraTemplate(service, Intent{Role: router.Role, Key: router.Key}, base, values)
}
