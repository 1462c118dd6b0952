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

// router is what was decided about the role's virtual router.
func (r routing) router(role string) *Router {
	at := slices.IndexFunc(r.Routers, func(r Router) bool { return r.Role == role })
	if at >= 0 {
		return &r.Routers[at]
	}
	stamp := strconv.FormatInt(r.now.UnixMicro(), 36)
	r.Routers = append(r.Routers, Router{Role: role, Key: fmt.Sprintf("%d-%s-router-%s", r.Service.ID, role, stamp)})
	return &r.Routers[len(r.Routers)-1]
}

// forgetRouter drops what was decided about a router that is gone.
func (r routing) forgetRouter(role string) {
	r.Routers = slices.DeleteFunc(r.Routers, func(r Router) bool { return r.Role == role })
}

// actOnRouter adds an action on a router once.
func (r routing) actOnRouter(kind ActionKind, router Router) {
	if action := (Action{Kind: kind, Role: router.Role, Router: router}); !r.isTaken(action) {
		r.retrier.act(action)
	}
}

// endRouter ends the role's virtual router, which ends its VMs: oned does not
// let them be ended one by one. It reports whether it is there, or may be.
func (r routing) endRouter(role *spec.Role) bool {
	if !role.IsRouter() {
		return false
	}
	router := r.router(role.Name)
	held := r.retrier.held(Action{Kind: ActionDeleteRouter, Role: role.Name}.Name())
	switch {
	case role.VRouterID == nil && router.Attempts == 0:
		r.forgetRouter(role.Name)
		return false
	case role.VRouterID == nil:
		r.actOnRouter(ActionFindRouter, *router)
	case !held && !r.now.Before(router.Asked.Add(r.settings.Look)):
		router.Asked = r.now
		r.actOnRouter(ActionDeleteRouter, *router)
	}
	return true
}

// nameRouter writes the router's name into the role's template_contents, after everything else, as recorded.
func (r routing) nameRouter(role *spec.Role) {
	if !role.IsRouter() || raw.KindOf(role.TemplateContents) != raw.KindObject { // else making it is refused
		return
	}
	if _, named := raw.Attributes(role.TemplateContents)["NAME"]; named {
		return
	}
	name := strings.NewReplacer(
		"$SERVICE_ID", strconv.Itoa(r.Service.ID),
		"$SERVICE_NAME", r.Service.Body.Name,
		"$ROLE_NAME", role.Name,
	).Replace(cmp.Or(r.settings.VRNameTemplate, defaultRouterName))
	rest := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(role.TemplateContents)), "}"))
	if rest != "{" {
		rest += ","
	}
	role.TemplateContents = json.RawMessage(rest + `"NAME":` + string(raw.Marshal(name)) + "}")
}

// SeeRouter is the state with the role's virtual router as oned shows it.
func SeeRouter(state State, role string, id int, addresses []one.FloatingIP) State {
	p := draftOf(state)
	held := p.Service.Role(role)
	if held == nil {
		return state
	}
	held.VRouterID = &id
	held.VRouterIPs = raw.Marshal(append([]one.FloatingIP{}, addresses...))
	return p.State
}

// DoubtRouter is the state in which the role's virtual router may have been made although no answer came.
func DoubtRouter(state State, role string) State {
	p := draftOf(state)
	p.routing.router(role).Attempts++
	return p.State
}

// gone forgets a virtual router that was deleted, or was not made after all.
func (r routing) gone(role string) {
	if held := r.Service.Role(role); held != nil {
		held.VRouterID, held.VRouterIPs = nil, nil
	}
	r.forgetRouter(role)
}

// RouterGone returns the state without the role's virtual router: it was deleted, or was not made after all.
func RouterGone(state State, role string) State {
	p := draftOf(state)
	p.routing.gone(role)
	return p.State
}

// Instance is the router as its template is made for it.
func (r Router) Instance() render.Instance {
	return render.Instance{Role: r.Role, Key: r.Key, Ordinal: render.NoOrdinal}
}
