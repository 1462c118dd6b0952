package flow

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// LeftAlone is why nothing is decided for a service: another program, such as OneFlow, drives it, or may. Two programs would create its VMs
// twice.
type LeftAlone struct {
	// Until is when a service goes on that another program may just be creating; zero if a user has to recover it.
	Until time.Time `json:"until,omitzero"`
	// VMs are those that another program has added to the service's document, or with Until, created without a note there.
	VMs []int `json:"vms,omitempty"`
	// Logged is what another program has written into the service's log.
	Logged string `json:"logged,omitempty"`
}

// Met returns the state of a service that a worker meets for the first time, without a command for it. If it gets VMs, another program may be
// about to create them, and writes that into the document only afterwards: the service is left alone for Settings.CheckInterval.
func Met(state State, now time.Time, settings Settings) State {
	switch state.Service.State() {
	case spec.ServicePending, spec.ServiceDeployingNets, spec.ServiceDeploying, spec.ServiceScaling:
		state.LeftAlone = &LeftAlone{Until: now.Add(settings.CheckInterval)}
	}
	return state
}

// Added returns the VMs that a document written by another program has and the service has not.
func Added(state State, body spec.Body) []int {
	return slices.DeleteFunc(spec.VMIDs(body.Roles...), state.isNode)
}

// driverLog matches the lines that OneFlow, as Flowjet, logs when it changes a service's state or a role's cardinality. A user who renames or
// updates a service, or edits its document, logs none.
var driverLog = regexp.MustCompile(`^(New state: |Role \S+ scaling )`)

// LoggedByOther returns the newest line by which another program has logged a change of the service in its document, empty without one. Lines
// that were written here are known, except those older than the log.
func LoggedByOther(state State, body spec.Body) string {
	ours := state.Service.Body.Log
	for _, line := range slices.Backward(body.Log) {
		known := slices.ContainsFunc(ours, func(our spec.LogEntry) bool { return our.Timestamp == line.Timestamp && our.Message == line.Message })
		if !known && (len(ours) == 0 || line.Timestamp > ours[0].Timestamp) && driverLog.MatchString(line.Message) {
			return line.Message
		}
	}
	return ""
}

// Driven returns the state after another program changed the document while a worker drove the service: it logged something, or added VMs that
// were created for the service, and not by a worker. That program drives the service, too: it is left alone until a user recovers it.
func Driven(state State, logged string, added []int, facts Facts, settings Settings) State {
	created := slices.DeleteFunc(added, func(id int) bool { return !CreatedByOther(state, facts[id], settings) })
	if len(created) > 0 || logged != "" {
		state.LeftAlone = &LeftAlone{VMs: created, Logged: logged}
	}
	return state
}

// Replaced returns the state with another program's document. What a program that drives the service, too, has dropped from it, which it may have
// read before the nodes were added, is kept until the service goes on.
func Replaced(state State, body spec.Body) State {
	if state.LeftAlone != nil {
		kept := append(spec.VMIDs(state.Service.Body.Roles...), state.Dropped...)
		nodes := spec.VMIDs(body.Roles...)
		state.Dropped = slices.DeleteFunc(kept, func(id int) bool { return slices.Contains(nodes, id) })
	}
	state.Service.Body = body
	return state
}

// CreatedByOther reports whether another program has created the VM for the service: it is no node yet, and has no key of a worker's.
func CreatedByOther(state State, vm one.VM, settings Settings) bool {
	return vm.Service == state.Service.ID && vm.Key == "" && !vm.Gone() && !state.isNode(vm.ID) &&
		(state.Service.Owns(vm) || vm.Owner.UName != "" && vm.Owner.UName == settings.ServerUser)
}

// CreatedByServer reports whether OneFlow has created the VM where it continued a deployment at its start: no user creates any as the server user.
func CreatedByServer(state State, vm one.VM, settings Settings) bool {
	return CreatedByOther(state, vm, settings) && !state.Service.Owns(vm)
}

// leftAlone reports whether nothing is decided now, and sets when to decide again. A service that goes on getting VMs of another program is
// left alone for longer.
func (p *planner) leftAlone() bool {
	if p.LeftAlone == nil {
		return false
	}
	p.Deadlines = nil
	if p.LeftAlone.Until.IsZero() {
		return true
	}
	var created []int
	for id, vm := range p.facts {
		if CreatedByOther(p.State, vm, p.settings) {
			created = append(created, id)
		}
	}
	if len(created) > len(p.LeftAlone.VMs) {
		slices.Sort(created)
		p.LeftAlone = &LeftAlone{Until: p.now.Add(p.settings.CheckInterval), VMs: created}
	}
	if !p.now.Before(p.LeftAlone.Until) {
		p.LeftAlone = nil
		return false
	}
	set(&p.Deadlines, DeadlineCheck, p.LeftAlone.Until)
	return true
}

// goOn ends that the service is left alone, if the command is from a user who knows, or wants it to go on anyway.
func (a applier) goOn(command Command) error {
	if a.LeftAlone.Until.IsZero() && command.Verb != VerbRecover {
		return refuse(RefusedState, "service %d is left alone: %s; %s", a.Service.ID, a.LeftAlone.text(), goOnAdvice(a.Service.ID))
	}
	a.LeftAlone, a.wasLeft = nil, true
	return nil
}

func (l LeftAlone) text() string {
	if !l.Until.IsZero() {
		return "another program, such as OneFlow, may be creating its VMs; Flowjet continues at " + utc(l.Until)
	}
	var vms []string
	for _, id := range l.VMs {
		vms = append(vms, strconv.Itoa(id))
	}
	text := "another program, such as OneFlow, drives it, too, and has "
	if len(vms) == 0 {
		return text + fmt.Sprintf("logged %q", raw.Shown(l.Logged))
	}
	return text + "added VM " + strings.Join(shortened(vms, maxReasons), ", ")
}

func goOnAdvice(service int) string {
	return fmt.Sprintf("stop the other program (OneFlow: systemctl disable --now opennebula-flow on every front-end), then `oneflow recover %d` lets Flowjet continue", service)
}
