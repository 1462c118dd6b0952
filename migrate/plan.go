// Package migrate takes services over from a stopped OneFlow, and gives them back to it.
//
// Either way the services stay in oned's documents, which OneFlow and Flowjet read alike. Taking over means to wake each
// service once; giving back means to write the decisions that Flowjet has not yet saved there.
//
// Safety: nothing is changed before the plan was shown; a document that somebody else has changed since is left alone.
// Liveness: neither way waits for VMs.
package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
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
}

// Plan reads every service and predicts its worker's actions: the same decision, from the same documents and VMs.
func Plan(ctx context.Context, oned *opennebula.Client, settings flow.Settings, now time.Time) ([]Service, error) {
	documents, err := oned.Server().Documents(ctx, spec.DocumentTypeService, opennebula.FilterAll, -1, -1)
	if err != nil {
		return nil, fmt.Errorf("list the services: %w", err)
	}
	known := map[int]one.VM{}
	if len(documents) > 0 {
		vms, err := oned.Server().VMs(ctx, opennebula.FilterAll, -1, -1, opennebula.StateAny)
		if err != nil {
			return nil, fmt.Errorf("list the VMs: %w", err)
		}
		for _, vm := range vms {
			known[vm.ID] = vm
		}
	}
	services := make([]Service, len(documents))
	for i, document := range documents {
		services[i] = predict(document, known, settings, now)
	}
	slices.SortFunc(services, func(a, b Service) int { return a.ID - b.ID })
	return services, nil
}

// predict decides about a service. A VM that oned does not have is gone.
func predict(document opennebula.Document, known map[int]one.VM, settings flow.Settings, now time.Time) Service {
	service := Service{ID: document.ID, Name: document.Name, Owner: document.Owner.UName}
	body, repairs, err := spec.ReadService(document.Body)
	if err != nil {
		service.State, service.Unreadable = "unreadable", err.Error()
		return service
	}
	state := flow.State{Service: spec.Service{ID: document.ID, Owner: document.Owner, Body: body}}
	service.State = state.Service.State().String()
	facts := flow.Facts{}
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			vm, found := known[node.DeployID]
			if !found {
				vm = one.VM{ID: node.DeployID, State: one.VMDone, Service: -1}
			}
			facts[node.DeployID] = vm
		}
	}
	for _, repair := range repairs {
		service.Next = append(service.Next, "its document is repaired: "+repair)
	}
	service.Next = append(service.Next, inWords(flow.Decide(flow.Input{State: state, Facts: facts, Now: now, Settings: settings}, nil))...)
	return service
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

// Adopt wakes every service once, so that its worker takes it over. It may be repeated. The wake-ups wait in JetStream
// until a worker runs.
func Adopt(ctx context.Context, pipe *pipeline.Pipeline, services []Service) (int, error) {
	woken, queue := 0, work.NewQueue(pipe)
	for _, service := range services {
		if service.Unreadable != "" {
			continue
		}
		wake := pipeline.Work{Service: service.ID, Reason: "taken over from OneFlow in " + service.State}
		if _, err := queue.PublishWork(ctx, wake, ""); err != nil {
			return woken, fmt.Errorf("take service %d over: %w", service.ID, err)
		}
		woken++
	}
	return woken, nil
}
