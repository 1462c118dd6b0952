package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/presence"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Return is one service with its changes for OneFlow.
type Return struct {
	ID    int
	State string
	// Body is the document's new body; nil if the document has it already.
	Body []byte
	// What describes the changes.
	What string
	// found is the digest of the document from which the plan was made.
	found string
	// record is the service's, as stored with the revision; 0 without one, or if it has ended.
	record   pipeline.Record
	revision uint64
}

// PlanBack compares each service's document with Flowjet's last decision, and finds the VMs and networks that were created and not
// yet noted. Flowjet should have stopped: later decisions are not in the plan.
func PlanBack(ctx context.Context, oned *opennebula.Client, pipe *pipeline.Pipeline) ([]Return, error) {
	documents, err := oned.Server().Documents(ctx, spec.DocumentTypeService, opennebula.FilterAll)
	if err != nil {
		return nil, fmt.Errorf("list the services: %w", err)
	}
	vms, err := allVMs(ctx, oned)
	if err != nil {
		return nil, err
	}
	networks, err := oned.Server().Networks(ctx, opennebula.FilterAll)
	if err != nil {
		return nil, fmt.Errorf("list the networks: %w", err)
	}
	var returns []Return
	for _, document := range documents {
		record, revision, err := work.NewRecords(pipe).LoadRecord(ctx, document.ID)
		if err != nil {
			return nil, fmt.Errorf("give service %d back: %w", document.ID, err)
		}
		stored := record
		if record.State.Service.Body, err = record.State.Service.Body.Opened(oned.Box().Open); err != nil {
			return nil, fmt.Errorf("give service %d back: %w; this needs the previous password of the server user", document.ID, err)
		}
		one, err := giveBack(document, record, revision, vms, networks)
		if err != nil {
			return nil, err
		}
		if !record.Deleted {
			one.record, one.revision = stored, revision
		}
		returns = append(returns, one)
	}
	slices.SortFunc(returns, func(a, b Return) int { return a.ID - b.ID })
	return returns, nil
}

func giveBack(document opennebula.Document, record pipeline.Record, revision uint64, vms []one.VM, networks []opennebula.Network) (Return, error) {
	given := Return{ID: document.ID}
	body, repairs, err := spec.ReadService(document.Body)
	if err != nil {
		given.State, given.What = "unreadable", "unchanged: its document cannot be read"
		return given, nil //nolint:nilerr // What reports it
	}
	given.found = spec.FoundDigest(document.Body, body, repairs)
	decided := record.State
	decided.Service.ID, decided.Service.Owner = document.ID, document.Owner
	decided = noteNetworks(decided, networks)
	digests := append(slices.Clone(record.Digests), record.Saved, record.State.Service.Body.Digest(), decided.Service.Body.Digest())
	service := decided.Service
	service.Body.Roles = slices.Clone(service.Body.Roles)
	noted := noteVMs(&service.Body, document.ID, vms, func(vm one.VM, _ spec.Role) bool { return vm.Key != "" && service.Owns(vm) })
	written := service.Body.Digest() // also by an earlier run
	switch {
	case revision == 0:
		given.What = "unchanged: Flowjet has never processed it"
	case record.Deleted:
		given.What = "unchanged: it has ended"
	case given.found != written && !slices.Contains(digests, given.found):
		given.What = "unchanged: another program has changed it since"
	case given.found == written:
		body, given.What = service.Body, "as decided"
	default:
		body, given.What = service.Body, "its document is updated with pending changes"
		if noted > 0 {
			given.What = fmt.Sprintf("%s, including %d created VMs that it does not list yet", given.What, noted)
		}
		if given.Body, err = body.Text(); err != nil {
			return given, fmt.Errorf("write the document of service %d: %w", document.ID, err)
		}
	}
	state := spec.Service{Body: body}.State()
	given.State = state.String()
	var missing []string // the networks that the service is to create for itself
	ids := spec.NetworkIDs(body.NetworksValues)
	for name, choice := range spec.ChosenNetworks(body.NetworksValues) {
		if _, made := ids[name]; !made && choice.HasOne(string(spec.FromTemplate), string(spec.FromReservation)) {
			missing = append(missing, name)
		}
	}
	switch {
	case record.Deleted:
	case len(missing) > 0 && slices.Contains(beforeVMs, state):
		given.What += fmt.Sprintf("; its networks (%s) are not created, and OneFlow would create its VMs without them: start Flowjet again and let it finish",
			strings.Join(missing, ", "))
	case slices.Contains(transient, state):
		given.What += "; it is in transition: start Flowjet again and let it finish, or recover it when OneFlow runs"
	}
	return given, nil
}

// transient are the states in which OneFlow continues when it starts. Where something has failed it wants a recover.
// HOLD is none of them: there, too, the service waits for its release.
var transient = []spec.ServiceState{
	spec.ServicePending, spec.ServiceDeploying, spec.ServiceDeployingNets, spec.ServiceUndeploying, spec.ServiceUndeployingNets,
	spec.ServiceScaling,
}

// beforeVMs are the states in which a service may lack networks. OneFlow creates them only when it instantiates a service: at its start
// and at a recover it goes on to the VMs.
var beforeVMs = []spec.ServiceState{spec.ServicePending, spec.ServiceDeployingNets, spec.ServiceFailedDeployingNets}

// noteNetworks notes the networks that were created and are not in the document: their worker died between the call and the note.
func noteNetworks(state flow.State, networks []opennebula.Network) flow.State {
	for _, wanted := range state.Networks {
		if wanted.ID >= 0 || !wanted.Attempted {
			continue
		}
		made := slices.IndexFunc(networks, func(n opennebula.Network) bool {
			return n.Owner.UID == state.Service.Owner.UID && wanted.IsMade(n.Name, n.Parent, n.Template)
		})
		if made >= 0 {
			state = flow.IngestNetwork(state, wanted.Name, networks[made].ID, networks[made].State)
		}
	}
	return state
}

// noteVMs puts into the roles with room the VMs that name the service, are in no role, and may be the role's: their creator ended between
// the call and the note.
func noteVMs(body *spec.Body, service int, vms []one.VM, may func(one.VM, spec.Role) bool) (noted int) {
	listed := spec.VMIDs(body.Roles...)
	for _, vm := range vms {
		if vm.Service != service || vm.Gone() || vm.Ending() || slices.Contains(listed, vm.ID) {
			continue
		}
		for i := range body.Roles {
			role := &body.Roles[i]
			if role.Name != vm.Role || len(role.Nodes) >= role.Cardinality || !may(vm, *role) {
				continue
			}
			role.Nodes = append(slices.Clone(role.Nodes), spec.NewNode(vm))
			noted++
		}
	}
	return noted
}

// Flush writes the new documents, each only if it is still as it was found. It returns how many it wrote. Commands that still wait in NATS
// for a service are refused from then on: what they were meant for may have been changed in OneFlow when Flowjet runs again.
func Flush(ctx context.Context, oned *opennebula.Client, pipe *pipeline.Pipeline, returns []Return) (written int, err error) {
	records := work.NewRecords(pipe)
	for _, one := range returns {
		if one.revision != 0 {
			one.record.Since = time.Now()
			if _, err := records.SaveRecord(ctx, one.ID, one.record, one.revision); err != nil {
				return written, fmt.Errorf("give service %d back: %w", one.ID, err)
			}
		}
		if one.Body == nil {
			continue
		}
		switch changed, err := rewrite(ctx, oned, one.ID, one.found, one.Body); {
		case opennebula.IsCode(err, opennebula.CodeNoExists):
			continue
		case err != nil:
			return written, fmt.Errorf("give service %d back: %w", one.ID, err)
		case changed:
			return written, fmt.Errorf("give service %d back: its document has changed since the plan was made: stop Flowjet on every front-end, and try again", one.ID)
		}
		written++
	}
	return written, nil
}

// rewrite writes a document, unless it has changed since it was found with the digest.
func rewrite(ctx context.Context, oned *opennebula.Client, id int, found string, text []byte) (changed bool, err error) {
	document, err := oned.Server().Document(ctx, id)
	if err != nil {
		return false, err
	}
	body, repairs, err := spec.ReadService(document.Body)
	if err != nil || spec.FoundDigest(document.Body, body, repairs) != found {
		return true, nil //nolint:nilerr // an unreadable document has changed
	}
	return false, oned.Server().UpdateDocument(ctx, id, text)
}

// StillRunning lists the live workers and the processes with an API: each reports several times a second.
func StillRunning(ctx context.Context, pipe *pipeline.Pipeline) (workers, apis []string, err error) {
	live, err := work.Observe(pipe)
	if err != nil {
		return nil, nil, err
	}
	defer live.Stop()
	processes, err := presence.Follow(pipe)
	if err != nil {
		return nil, nil, err
	}
	defer processes.Stop()
	if err := idle.For(ctx, time.Second); err != nil {
		return nil, nil, err
	}
	for _, process := range processes.Live() {
		if slices.Contains(process.Parts, "api") {
			apis = append(apis, process.Name)
		}
	}
	slices.Sort(apis)
	return slices.Sorted(maps.Keys(live.Live())), slices.Compact(apis), nil
}
