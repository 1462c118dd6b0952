package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
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
}

// PlanBack compares each service's document with Flowjet's last decision, and finds the VMs that were created and not yet
// noted. Flowjet should have stopped: later decisions are not in the plan.
func PlanBack(ctx context.Context, oned *opennebula.Client, pipe *pipeline.Pipeline) ([]Return, error) {
	documents, err := oned.Server().Documents(ctx, spec.DocumentTypeService, opennebula.FilterAll, -1, -1)
	if err != nil {
		return nil, fmt.Errorf("list the services: %w", err)
	}
	vms, err := oned.Server().VMs(ctx, opennebula.FilterAll, -1, -1, opennebula.StateAny)
	if err != nil {
		return nil, fmt.Errorf("list the VMs: %w", err)
	}
	var returns []Return
	for _, document := range documents {
		record, revision, err := work.NewRecords(pipe).LoadRecord(ctx, document.ID)
		if err != nil {
			return nil, fmt.Errorf("give service %d back: %w", document.ID, err)
		}
		if record.State.Service.Body, err = record.State.Service.Body.Opened(oned.Box().Open); err != nil {
			return nil, fmt.Errorf("give service %d back: %w; this needs the previous password of the server user", document.ID, err)
		}
		one, err := giveBack(document, record, revision, vms)
		if err != nil {
			return nil, err
		}
		returns = append(returns, one)
	}
	slices.SortFunc(returns, func(a, b Return) int { return a.ID - b.ID })
	return returns, nil
}

func giveBack(document opennebula.Document, record pipeline.Record, revision uint64, vms []one.VM) (Return, error) {
	one := Return{ID: document.ID}
	body, repairs, err := spec.ReadService(document.Body)
	if err != nil {
		one.State, one.What = "unreadable", "unchanged: its document cannot be read"
		return one, nil //nolint:nilerr // What reports it
	}
	one.found = spec.FoundDigest(document.Body, body, repairs)
	one.State = spec.Service{Body: body}.State().String()
	decided := record.State.Service.Body
	switch ours := record.Saved == one.found || slices.Contains(record.Digests, one.found) || decided.Digest() == one.found; {
	case revision == 0:
		one.What = "unchanged: Flowjet has never processed it"
	case record.Deleted:
		one.What = "unchanged: it has ended"
	case !ours:
		one.What = "unchanged: another program has changed it since"
	}
	if one.What != "" {
		return one, nil
	}
	decided.Roles = slices.Clone(decided.Roles)
	noted := noteVMs(&decided, document.ID, vms)
	state := spec.Service{Body: decided}.State()
	one.State, one.What = state.String(), "as decided"
	if decided.Digest() != one.found {
		if one.Body, err = json.Marshal(decided); err != nil {
			return one, fmt.Errorf("write the document of service %d: %w", document.ID, err)
		}
		one.What = "its document is updated with pending changes"
		if noted > 0 {
			one.What = fmt.Sprintf("%s, including %d created VMs that it does not list yet", one.What, noted)
		}
	}
	if slices.Contains(transient, state) {
		one.What += "; it is in transition: start Flowjet again and let it finish, or recover it when OneFlow runs"
	}
	return one, nil
}

// transient are the states in which OneFlow continues when it starts. Where something has failed it wants a recover.
var transient = []spec.ServiceState{
	spec.ServicePending, spec.ServiceDeploying, spec.ServiceDeployingNets, spec.ServiceUndeploying, spec.ServiceUndeployingNets,
	spec.ServiceScaling, spec.ServiceHold,
}

// noteVMs puts into the roles the VMs that carry a key of the service's and are in no role: their worker died between the
// call and the note.
func noteVMs(body *spec.Body, service int, vms []one.VM) (noted int) {
	known := map[int]bool{}
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			known[node.DeployID] = true
		}
	}
	for _, vm := range vms {
		if vm.Service != service || vm.Key == "" || vm.Gone() || vm.Ending() || known[vm.ID] {
			continue
		}
		for i := range body.Roles {
			role := &body.Roles[i]
			if role.Name != vm.Role || len(role.Nodes) >= role.Cardinality {
				continue
			}
			role.Nodes = append(slices.Clone(role.Nodes), spec.NewNode(vm))
			noted++
		}
	}
	return noted
}

// Flush writes the new documents, each only if it is still as it was found. It returns how many it wrote.
func Flush(ctx context.Context, oned *opennebula.Client, returns []Return) (written int, err error) {
	for _, one := range returns {
		if one.Body == nil {
			continue
		}
		document, err := oned.Server().Document(ctx, one.ID)
		if opennebula.IsCode(err, opennebula.CodeNoExists) {
			continue
		}
		if err != nil {
			return written, fmt.Errorf("give service %d back: %w", one.ID, err)
		}
		body, repairs, err := spec.ReadService(document.Body)
		if err != nil || spec.FoundDigest(document.Body, body, repairs) != one.found {
			return written, fmt.Errorf("give service %d back: its document has changed since the plan was made: stop Flowjet on every front-end, and try again", one.ID)
		}
		if err := oned.Server().UpdateDocument(ctx, one.ID, one.Body); err != nil {
			return written, fmt.Errorf("give service %d back: %w", one.ID, err)
		}
		written++
	}
	return written, nil
}

// StillRunning lists the live workers: each sends a heartbeat five times a second.
func StillRunning(ctx context.Context, pipe *pipeline.Pipeline) ([]string, error) {
	subscription, err := pipe.Conn().SubscribeSync(pipeline.SubjectsWorker)
	if err != nil {
		return nil, fmt.Errorf("listen for workers: %w", err)
	}
	defer subscription.Unsubscribe() //nolint:errcheck // the connection ends soon
	listening, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var workers []string
	for {
		message, err := subscription.NextMsgWithContext(listening)
		if err != nil {
			return workers, ctx.Err()
		}
		var heard struct {
			Worker string `json:"worker"`
			State  string `json:"state"`
		}
		if json.Unmarshal(message.Data, &heard) == nil && heard.State != "leaving" && !slices.Contains(workers, heard.Worker) {
			workers = append(workers, heard.Worker)
		}
	}
}
