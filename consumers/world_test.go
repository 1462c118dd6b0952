package consumers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/sim"
)

// world is a simulated OpenNebula, a NATS server, and what is between them. Its
// events are those that a test lets through: hear tells the workers of every
// VM's state, as a bridge would.
type world struct {
	t    *testing.T
	sim  *sim.Sim
	oned *opennebula.Client
	nats *natstest.Node
	pipe clients
	// hearing is what workers are told of the bridge.
	hearing bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, sim.Config{BootDelay: time.Millisecond, TimeFactor: 0.001})
}

func newWorldOf(t *testing.T, config sim.Config) *world {
	t.Helper()
	simulated, err := sim.New(config)
	must(t, err)
	must(t, simulated.Start(t.Context()))
	t.Cleanup(func() { must(t, simulated.Stop(context.Background())) })
	credentials, err := opennebula.ParseCredentials(simulated.ServerCredentials())
	must(t, err)
	oned := opennebula.NewClient(opennebula.Config{Endpoint: simulated.Endpoint(), Credentials: credentials, Timeout: 20 * time.Second})
	t.Cleanup(oned.Close)
	node := natstest.NewNode(t)
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: node.URL(), Name: t.Name()})
	must(t, err)
	t.Cleanup(pipe.Close)
	return &world{t: t, sim: simulated, oned: oned, nats: node, pipe: clientsOf(pipe)}
}

// startWorker starts a worker that stops with the test, or by the function.
func (w *world) startWorker(id string, settings flow.Settings) (stop func()) {
	w.t.Helper()
	return w.start(consumers.Config{
		ConfirmDamage: time.Second,
		Hearing:       func() bool { return w.hearing },
		ID:            id, Settings: settings, AwaitDocument: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
}

func (w *world) start(config consumers.Config) (stop func()) {
	w.t.Helper()
	worker := consumers.New(config, w.pipe.Pipeline, w.oned)
	must(w.t, worker.Start(w.t.Context()))
	stop = func() {
		ending, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(w.t, worker.Stop(ending))
	}
	w.t.Cleanup(stop)
	return stop
}

// quick are settings under which nothing has to be waited for long.
func quick() flow.Settings {
	settings := flow.DefaultSettings()
	settings.CheckInterval = time.Second
	settings.Cooldown = 0
	return settings
}

// hear publishes the state of every VM that has changed, until the test ends, or by the
// function.
func (w *world) hear() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	lease, err := w.pipe.acquire(ctx, "test", "test")
	must(w.t, err)
	go func() {
		defer close(done)
		told := map[int]string{}
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			var events []feeds.Event
			for _, vm := range w.sim.VMs() {
				state := fmt.Sprintf("%s/%s", vm.State, vm.LCMState)
				if told[vm.ID] != state {
					told[vm.ID] = state
					events = append(events, eventOf(vm))
				}
			}
			if len(events) > 0 {
				_ = lease.Publish(ctx, events)
			}
		}
	}()
	return stop
}

func eventOf(seen sim.VM) feeds.Event {
	service, err := strconv.Atoi(seen.Service)
	if err != nil {
		service = -1
	}
	vm := one.VM{
		ID: seen.ID, Name: seen.Name, Owner: one.Identity{UName: seen.UName}, State: seen.State, LCMState: seen.LCMState,
		Ready: seen.Ready == "YES", Service: service, Role: seen.Role, Key: seen.Key,
	}
	event := pipeline.Event{
		Object: "vm", ID: vm.ID, State: vm.State.String(), LCMState: vm.LCMState.String(), VM: &vm, Heard: time.Now(),
	}
	return feeds.Event{
		Subject: pipeline.VMSubject(0, vm.ID, event.State, event.LCMState), MessageID: nuid.Next(), Event: event,
	}
}

const masterSlave = `{"name":"svc","deployment":"straight","state":0,"roles":[
 {"name":"Master","type":"vm","cardinality":%d,"template_id":0,"cooldown":0,"state":0},
 {"name":"Slave","type":"vm","cardinality":%d,"template_id":0,"parents":["Master"],"cooldown":0,"state":0}]}`

// service creates the document of a pending service, as alice.
func (w *world) service(body string, arguments ...any) int {
	w.t.Helper()
	id, err := w.oned.For("alice").AllocateDocument(w.t.Context(), spec.DocumentTypeService, "svc", fmt.Appendf(nil, body, arguments...))
	must(w.t, err)
	return id
}

// deployed creates a service and waits until it runs.
func (w *world) deployed(body string, arguments ...any) int {
	w.t.Helper()
	service := w.service(body, arguments...)
	w.accepted(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceRunning)
	return service
}

// accepted sends a command that must not be refused.
func (w *world) accepted(service int, verb flow.Verb, arguments any) {
	w.t.Helper()
	if reply := w.command(service, verb, arguments); reply.Refused != "" {
		w.t.Fatalf("%s of service %d was refused: %s", verb, service, reply.Message)
	}
}

// command sends a command and returns the worker's answer.
func (w *world) command(service int, verb flow.Verb, arguments any) pipeline.Reply {
	w.t.Helper()
	text, err := json.Marshal(arguments)
	must(w.t, err)
	command := flow.Command{ID: nuid.Next(), Verb: verb, Service: service, User: one.Identity{UID: 2, UName: "alice"}, Arguments: text}
	reply, err := w.pipe.SubmitCommand(w.t.Context(), command, poll.Limit)
	must(w.t, err)
	return reply
}

// body reads a service's document. In a zone of several servers one that has just lost its
// lead may answer with an older one, which no state may be taken from.
func (w *world) body(service int) (spec.Body, bool) {
	document, err := w.oned.Server().Document(context.Background(), service)
	if len(w.sim.Servers()) > 1 {
		poll.Until(w.t, "the zone's leader to answer", func() bool {
			document, err = w.oned.Server().Confirmed().Document(context.Background(), service)
			return err == nil || opennebula.IsCode(err, opennebula.CodeNoExists)
		})
	}
	if err != nil {
		return spec.Body{}, false
	}
	body, err := spec.ParseBody(document.Body)
	must(w.t, err)
	return body, true
}

// await waits until the service's document says the state.
func (w *world) await(service int, state spec.ServiceState) {
	w.t.Helper()
	poll.Until(w.t, fmt.Sprintf("service %d to be %s", service, state), func() bool {
		body, exists := w.body(service)
		return exists && (spec.Service{Body: body}).State() == state
	})
	w.checkWhy(service)
}

// vms are the service's VMs at oned that have not ended.
func (w *world) vms(service int) []one.VM {
	w.t.Helper()
	all, err := w.oned.Server().VMs(w.t.Context(), -2, -1, -1, -1)
	must(w.t, err)
	var ours []one.VM
	for _, vm := range all {
		if vm.Service == service {
			ours = append(ours, vm)
		}
	}
	return ours
}

// exactly makes sure that the service has so many VMs, that each is a node, and
// that no two stand for the same intent.
func (w *world) exactly(service, count int) {
	w.t.Helper()
	nodes := map[int]bool{}
	body, _ := w.body(service)
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			nodes[node.DeployID] = true
		}
	}
	keys := map[string]bool{}
	vms := w.vms(service)
	for _, vm := range vms {
		if !nodes[vm.ID] {
			w.t.Errorf("VM %d (%s) is no node of service %d: an orphan", vm.ID, vm.Key, service)
		}
		if keys[vm.Key] {
			w.t.Errorf("two VMs of service %d carry the key %s", service, vm.Key)
		}
		keys[vm.Key] = true
		if vm.Owner.UName != "alice" {
			w.t.Errorf("VM %d belongs to %s, not to the service's owner", vm.ID, vm.Owner.UName)
		}
	}
	if len(vms) != count || len(nodes) != count {
		w.t.Errorf("service %d has %d VMs and %d nodes, want %d of both", service, len(vms), len(nodes), count)
	}
}

// gone waits until the service has no document, and makes sure that none of its
// VMs is left.
func (w *world) gone(service int) {
	w.t.Helper()
	poll.Until(w.t, "the document to be gone", func() bool { _, exists := w.body(service); return !exists })
	if left := w.vms(service); len(left) > 0 {
		w.t.Errorf("%d VMs are left behind", len(left))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, body spec.Body) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	must(t, err)
	return text
}
