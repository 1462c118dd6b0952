// Package migrate takes services over from a stopped OneFlow, and gives them back to it.
//
// Either way the services stay in oned's documents, which OneFlow and Flowjet read alike. Taking over means to complete what OneFlow left
// unfinished, and to wake each service once; giving back means to write the decisions that Flowjet has not yet saved there.
//
// Safety: nothing is changed before the plan was shown; a document that somebody else has changed since is left alone.
// Liveness: neither way waits for VMs.
package migrate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Service is one service with the plan for it.
type Service struct {
	ID    int
	Name  string
	Owner string
	State string
	// Next describes Flowjet's first actions on it.
	Next []string
	// Unreadable is why its document cannot be read; then it is left alone.
	Unreadable string
	// body is the document with the VMs that OneFlow created for it and did not note, as it does only after a role's last one; nil if it
	// lists all. found is the digest of the document from which the plan was made.
	body  []byte
	found string
	// own are its VMs that belong to the server user: OneFlow creates them so where it continues a service at its start. They are to be the
	// service's owner's: nobody else may end them with it.
	own   []int
	owner one.Identity
}

// Plan reads every service and predicts its worker's actions: the same decision, from the same documents and VMs.
func Plan(ctx context.Context, oned *opennebula.Client, settings flow.Settings, now time.Time) ([]Service, error) {
	documents, err := oned.Server().Documents(ctx, spec.DocumentTypeService, opennebula.FilterAll)
	if err != nil {
		return nil, fmt.Errorf("list the services: %w", err)
	}
	var vms []one.VM
	var server opennebula.User
	if len(documents) > 0 {
		if server, err = oned.Server().User(ctx, -1); err != nil {
			return nil, fmt.Errorf("read the server user: %w", err)
		}
		if vms, err = allVMs(ctx, oned); err != nil {
			return nil, err
		}
	}
	known := map[int]one.VM{}
	named := map[int][]one.VM{} // by the service that they name
	for _, vm := range vms {
		known[vm.ID] = vm
		named[vm.Service] = append(named[vm.Service], vm)
	}
	services := make([]Service, len(documents))
	for i, document := range documents {
		if services[i], err = predict(document, server.Identity, known, named[document.ID], settings, now); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(services, func(a, b Service) int { return a.ID - b.ID })
	return services, nil
}

// allVMs lists all VMs, oldest first.
func allVMs(ctx context.Context, oned *opennebula.Client) ([]one.VM, error) {
	vms, err := oned.Server().VMs(ctx, opennebula.FilterAll, -1, -1, opennebula.StateAny)
	if err != nil {
		return nil, fmt.Errorf("list the VMs: %w", err)
	}
	slices.SortFunc(vms, func(a, b one.VM) int { return a.ID - b.ID })
	return vms, nil
}

// predict decides about a service. A VM that oned does not have is gone. named are the VMs that name the service.
func predict(
	document opennebula.Document, server one.Identity, known map[int]one.VM, named []one.VM, settings flow.Settings, now time.Time,
) (Service, error) {
	service := Service{ID: document.ID, Name: document.Name, Owner: document.Owner.UName, owner: document.Owner}
	body, repairs, err := spec.ReadService(document.Body)
	if err != nil {
		service.State, service.Unreadable = "unreadable", err.Error()
		return service, nil //nolint:nilerr // Unreadable reports it
	}
	for _, repair := range repairs {
		service.Next = append(service.Next, "its document is repaired: "+repair)
	}
	for role := range body.EachRole() {
		for _, each := range policy.Adjustments(role.ElasticityPolicies) {
			if read, err := expression.Parse(each.Expression); err == nil && read.FromTheRight() {
				service.Next = append(service.Next, fmt.Sprintf("a policy of role %s changes its meaning: OneFlow reads %q from the right: set parentheses", role.Name, each.Expression))
			}
		}
	}
	service.found = spec.FoundDigest(document.Body, body, repairs)
	noted := noteVMs(&body, document.ID, named, func(vm one.VM, role spec.Role) bool {
		return vm.Key == "" && !role.IsRouter() && (vm.Owner.UID == document.Owner.UID || vm.Owner.UID == server.UID)
	})
	if noted > 0 {
		if service.body, body, err = fitted(body); err != nil {
			return service, fmt.Errorf("write the document of service %d: %w", document.ID, err)
		}
		service.Next = append(service.Next, fmt.Sprintf("its document is updated with %d VMs that OneFlow created and did not note", noted))
	}
	if left := unlisted(body, named); left != "" {
		service.Next = append(service.Next, left)
	}
	state := flow.State{Service: spec.Service{ID: document.ID, Owner: document.Owner, Body: body}}
	service.State = state.Service.State().String()
	facts := flow.Facts{}
	for _, id := range spec.VMIDs(body.Roles...) {
		vm, found := known[id]
		switch {
		case !found:
			vm = one.VM{ID: id, State: one.VMDone, Service: -1}
		case vm.Service == document.ID && vm.Owner.UID == server.UID && vm.Owner.UID != document.Owner.UID && !vm.Gone():
			service.own = append(service.own, vm.ID)
			vm.Owner = document.Owner
		}
		facts[id] = vm
	}
	if len(service.own) > 0 {
		service.Next = append(service.Next, fmt.Sprintf("%d VMs that OneFlow created as %s are given to %s", len(service.own), server.UName, service.Owner))
	}
	service.Next = append(service.Next, inWords(flow.Decide(flow.Input{State: state, Facts: facts, Now: now, Settings: settings}, nil))...)
	return service, nil
}

// unlisted reports the VMs that name a service, are in none of its roles, and were not created by Flowjet, which looks for its own; empty
// without any. A recover of OneFlow's leaves them where it creates VMs again that it had not noted.
func unlisted(body spec.Body, named []one.VM) string {
	listed := spec.VMIDs(body.Roles...)
	var ids []string
	for _, vm := range named {
		if !slices.Contains(listed, vm.ID) && vm.Key == "" && !vm.Gone() && !vm.Ending() {
			ids = append(ids, strconv.Itoa(vm.ID))
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprintf("VMs that name it and are in none of its roles run on (%s): terminate those that are not needed", strings.Join(ids, ", "))
}

// fitted returns a body that fits its new VMs, such as with the number of the next one, and its text.
func fitted(body spec.Body) ([]byte, spec.Body, error) {
	text, err := body.Text()
	if err == nil {
		body, _, err = spec.ReadService(text)
	}
	if err == nil {
		text, err = body.Text()
	}
	return text, body, err
}

// inWords describes a decision's actions; calls of a kind are counted.
func inWords(decision flow.Decision) []string {
	var said []string
	for _, change := range decision.Changes {
		if change.Kind == "service" && change.Old != "" {
			said = append(said, fmt.Sprintf("goes from %s to %s", change.Old, change.New))
		}
	}
	counts := map[string]int{}
	for _, action := range decision.Actions {
		what := strings.ReplaceAll(string(action.Kind), "_", " ")
		if action.Call != "" {
			what = action.Call
		}
		if action.Role != "" {
			what += " of role " + action.Role
		}
		if counts[what]++; counts[what] == 1 {
			said = append(said, what)
		}
	}
	for i, what := range said {
		if counts[what] > 1 {
			said[i] = fmt.Sprintf("%s (%d times)", what, counts[what])
		}
	}
	if len(said) == 0 {
		return []string{"no change, it continues"}
	}
	return said
}

// Complete does for each service what OneFlow left unfinished. It may be repeated with a new plan.
func Complete(ctx context.Context, oned *opennebula.Client, services []Service) error {
	for _, service := range services {
		if service.body != nil {
			changed, err := rewrite(ctx, oned, service.ID, service.found, service.body)
			if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
				return fmt.Errorf("take service %d over: %w", service.ID, err)
			}
			if changed {
				return fmt.Errorf("take service %d over: its document has changed since the plan was made: stop OneFlow on every front-end, and try again", service.ID)
			}
		}
		for _, vm := range service.own {
			err := oned.Server().ChownVM(ctx, vm, service.owner.UID, service.owner.GID)
			if err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
				return fmt.Errorf("take service %d over: give VM %d to %s: %w", service.ID, vm, service.Owner, err)
			}
		}
	}
	return nil
}

// Adopt wakes every service once, so that its worker takes it over. It may be repeated. The wake-ups wait in JetStream
// until a worker runs.
func Adopt(ctx context.Context, pipe *pipeline.Pipeline, services []Service) (int, error) {
	woken, queue := 0, work.NewQueue(pipe)
	for _, service := range services {
		if service.Unreadable != "" {
			continue
		}
		wake := pipeline.Work{Service: service.ID, Reason: "taken over from OneFlow in " + service.State, Taken: true}
		if _, err := queue.PublishWork(ctx, wake, ""); err != nil {
			return woken, fmt.Errorf("take service %d over: %w", service.ID, err)
		}
		woken++
	}
	return woken, nil
}
