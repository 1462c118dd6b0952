package migrate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/migrate"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
	"github.com/flowjet/flowjet/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone is a simulated OpenNebula with a stopped OneFlow.
type zone struct {
	t    *testing.T
	sim  *sim.Sim
	oned *opennebula.Client
	pipe *pipeline.Pipeline
}

func newZone(t *testing.T) *zone {
	t.Helper()
	simulated, err := sim.New(sim.Config{
		XMLRPCListen: "127.0.0.1:0", HooksListen: "127.0.0.1:0", ControlListen: "127.0.0.1:0", BootDelay: time.Millisecond,
	})
	must(t, err)
	must(t, simulated.Start(t.Context()))
	t.Cleanup(func() { must(t, simulated.Stop(context.Background())) })
	credentials, err := opennebula.ParseCredentials(simulated.ServerCredentials())
	must(t, err)
	oned := opennebula.NewClient(opennebula.Config{Endpoint: simulated.Endpoint(), Credentials: credentials})
	t.Cleanup(oned.Close)
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.Server(t)})
	must(t, err)
	t.Cleanup(pipe.Close)
	return &zone{t: t, sim: simulated, oned: oned, pipe: pipe}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// document puts a service's document to oned, as OneFlow has left it.
func (z *zone) document(body string) int {
	z.t.Helper()
	id, err := z.oned.For("oneadmin").AllocateDocument(z.t.Context(), spec.DocumentTypeService, "service", []byte(body))
	must(z.t, err)
	return id
}

func (z *zone) body(id int) spec.Body {
	z.t.Helper()
	document, err := z.oned.Server().Document(z.t.Context(), id)
	must(z.t, err)
	body, err := spec.ParseBody(document.Body)
	must(z.t, err)
	return body
}

// recordedServices are the bodies of service documents in the recording, each once.
func recordedServices(t *testing.T) []string {
	t.Helper()
	type document struct {
		Template struct {
			Body json.RawMessage `json:"BODY"`
		} `json:"TEMPLATE"`
	}
	var bodies []string
	seen := map[string]bool{}
	for _, exchange := range fixtures.Lines[struct {
		ResponseBody string `json:"response_body"`
	}](t, "rest.jsonl") {
		var answer struct {
			Document document `json:"DOCUMENT"`
			Pool     struct {
				Document []document `json:"DOCUMENT"`
			} `json:"DOCUMENT_POOL"`
		}
		if json.Unmarshal([]byte(exchange.ResponseBody), &answer) != nil {
			continue // an error's text
		}
		for _, found := range append(answer.Pool.Document, answer.Document) {
			text := string(found.Template.Body)
			body, err := spec.ParseBody([]byte(text))
			if text == "" || seen[text] || err != nil || body.State == nil {
				continue
			}
			seen[text] = true
			bodies = append(bodies, text)
		}
	}
	if len(bodies) < 50 {
		t.Fatalf("only %d services in the recording", len(bodies))
	}
	return bodies
}

// TestEveryRecordedServiceHasAPlan: documents as a real OneFlow has left them,
// in every state, are read and foreseen, and then each is woken once.
func TestEveryRecordedServiceHasAPlan(t *testing.T) {
	z := newZone(t)
	bodies := recordedServices(t)
	want := map[int]string{}
	for _, body := range bodies {
		parsed, err := spec.ParseBody([]byte(body))
		must(t, err)
		want[z.document(body)] = spec.Service{Body: parsed}.State().String()
	}
	services, err := migrate.Plan(t.Context(), z.oned, flow.DefaultSettings(), time.Now())
	must(t, err)
	if len(services) != len(bodies) {
		t.Fatalf("%d services are planned of %d", len(services), len(bodies))
	}
	states := map[string]int{}
	for _, service := range services {
		if service.Unreadable != "" || len(service.Next) == 0 || service.State != want[service.ID] || service.Owner != "oneadmin" {
			t.Errorf("service %d: %+v, want state %s", service.ID, service, want[service.ID])
		}
		states[service.State]++
	}
	if len(states) < 6 {
		t.Errorf("the recording has only the states %v", states)
	}
	count, err := migrate.Adopt(t.Context(), z.pipe, services)
	must(t, err)
	info, err := z.pipe.JetStream().Stream(t.Context(), pipeline.StreamWork)
	must(t, err)
	if count != len(services) || info.CachedInfo().State.Msgs != uint64(count) {
		t.Errorf("%d services were woken, and %d wake-ups wait", count, info.CachedInfo().State.Msgs)
	}
}

func TestThePlanSaysWhatIsDoneFirst(t *testing.T) {
	z := newZone(t)
	pending := z.document(`{"name": "a", "deployment": "none", "state": 0, "roles": [{"name": "r", "type": "vm", "cardinality": 2, "template_id": 0}]}`)
	z.document(`not a document at all`)
	z.document(`{"name": "b", "deployment": "none", "state": 2, "roles": [{"name": "web", "type": "vm", "cardinality": 0, "template_id": 0,
		"min_vms": 0, "max_vms": 2, "elasticity_policies": [{"type": "CHANGE", "adjust": 1, "expression": "CPU > 1 && A > 1 || B > 1"}]}]}`)
	services, err := migrate.Plan(t.Context(), z.oned, flow.DefaultSettings(), time.Now())
	must(t, err)
	if said := fmt.Sprint(services[0].Next); services[0].ID != pending || !strings.Contains(said, "goes from PENDING to DEPLOYING_NETS") ||
		!strings.Contains(said, "create vm of role r (2 times)") {
		t.Errorf("%+v", services[0])
	}
	if services[1].Unreadable == "" {
		t.Errorf("%+v", services[1])
	}
	if said := fmt.Sprint(services[2].Next); !strings.Contains(said, `a policy of role web changes its meaning: OneFlow reads "CPU > 1 && A > 1 || B > 1" from the right`) {
		t.Errorf("%+v", services[2])
	}
	count, err := migrate.Adopt(t.Context(), z.pipe, services)
	must(t, err)
	if count != 2 {
		t.Errorf("%d services are woken, the unreadable one among them", count)
	}
}

// TestEveryRecordedServiceIsGivenBack: what Flowjet has decided on a recorded
// document and not yet saved is written, and OneFlow finds nothing in it that it
// does not know.
func TestEveryRecordedServiceIsGivenBack(t *testing.T) {
	z := newZone(t)
	bodies := recordedServices(t)
	known := attributes(t, bodies)
	decided := map[int]string{}
	for _, text := range bodies {
		id := z.document(text)
		before := z.body(id)
		decision := flow.Decide(flow.Input{
			State: flow.State{Service: spec.Service{ID: id, Body: before}}, Facts: flow.Facts{}, Now: time.Now(), Settings: flow.DefaultSettings(),
		}, nil)
		record := pipeline.Record{State: decision.State, Saved: before.Digest()}
		_, err := work.NewRecords(z.pipe).SaveRecord(t.Context(), id, record, 0)
		must(t, err)
		decided[id] = decision.State.Service.Body.Digest()
	}
	returns, err := migrate.PlanBack(t.Context(), z.oned, z.pipe)
	must(t, err)
	written, err := migrate.Flush(t.Context(), z.oned, z.pipe, returns)
	must(t, err)
	if written == 0 || written == len(bodies) {
		t.Errorf("%d of %d documents were written: some differ and some do not", written, len(bodies))
	}
	for id, want := range decided {
		body := z.body(id)
		if body.Digest() != want {
			t.Errorf("service %d is not as it was decided", id)
		}
		text, err := json.Marshal(body)
		must(t, err)
		for name := range attributes(t, []string{string(text)}) {
			if !known[name] {
				t.Errorf("the document of service %d has %s, which OneFlow has never written", id, name)
			}
		}
	}
	again, err := migrate.PlanBack(t.Context(), z.oned, z.pipe)
	must(t, err)
	for _, one := range again {
		if one.Body != nil {
			t.Errorf("service %d is written a second time", one.ID)
		}
	}
}

// attributes are the paths of all attributes in bodies, but for those within what
// users choose the names of.
func attributes(t *testing.T, bodies []string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, text := range bodies {
		var body any
		must(t, json.Unmarshal([]byte(text), &body))
		collect("", body, found)
	}
	return found
}

var usersOwn = map[string]bool{
	".networks": true, ".networks_values": true, ".user_inputs": true, ".user_inputs_values": true, ".roles.template_contents": true,
	".roles.user_inputs": true, ".roles.user_inputs_values": true,
}

func collect(path string, value any, into map[string]bool) {
	into[path] = true
	if usersOwn[path] {
		return
	}
	switch typed := value.(type) {
	case map[string]any:
		for name, inner := range typed {
			collect(path+"."+name, inner, into)
		}
	case []any:
		for _, inner := range typed {
			collect(path, inner, into)
		}
	}
}

// TestAVMThatWasCreatedAndNotNotedIsGivenBack: its worker died in between.
func TestAVMThatWasCreatedAndNotNotedIsGivenBack(t *testing.T) {
	z := newZone(t)
	const text = `{"name": "a", "deployment": "none", "state": 1, "roles": [{"name": "r", "type": "vm", "cardinality": 1, "template_id": 0, "state": 1, "nodes": []}]}`
	id := z.document(text)
	vm, err := z.oned.For("oneadmin").InstantiateTemplate(t.Context(), 0, "r_0", false,
		fmt.Sprintf("SERVICE_ID = \"%d\"\nROLE_NAME = \"r\"\nFLOWJET_KEY = \"%d-r-0-1\"\n", id, id))
	must(t, err)
	body := z.body(id)
	record := pipeline.Record{Saved: body.Digest(), State: flow.State{Service: spec.Service{ID: id, Body: body}}}
	_, err = work.NewRecords(z.pipe).SaveRecord(t.Context(), id, record, 0)
	must(t, err)
	returns, err := migrate.PlanBack(t.Context(), z.oned, z.pipe)
	must(t, err)
	if !strings.Contains(returns[0].What, "including 1 created VMs") || !strings.Contains(returns[0].What, "in transition") {
		t.Errorf("%+v", returns[0])
	}
	_, err = migrate.Flush(t.Context(), z.oned, z.pipe, returns)
	must(t, err)
	if nodes := z.body(id).Roles[0].Nodes; len(nodes) != 1 || nodes[0].DeployID != vm {
		t.Errorf("the role has the nodes %+v, want VM %d", nodes, vm)
	}
	// As if it had been interrupted: a second run recognises its own document.
	returns, err = migrate.PlanBack(t.Context(), z.oned, z.pipe)
	must(t, err)
	if returns[0].Body != nil || !strings.HasPrefix(returns[0].What, "as decided; it is in transition") {
		t.Errorf("%+v", returns[0])
	}
}

func TestWhatOthersHaveChangedIsLeftAlone(t *testing.T) {
	z := newZone(t)
	const text = `{"name": "a", "deployment": "none", "state": 2, "roles": [{"name": "r", "type": "vm", "cardinality": 0, "template_id": 0, "state": 2, "nodes": []}]}`
	foreign, untouched, ended := z.document(text), z.document(text), z.document(text)
	decided := z.body(foreign)
	description := "decided"
	decided.Description = &description
	record := pipeline.Record{Saved: "something else", State: flow.State{Service: spec.Service{ID: foreign, Body: decided}}}
	_, err := work.NewRecords(z.pipe).SaveRecord(t.Context(), foreign, record, 0)
	must(t, err)
	_, err = work.NewRecords(z.pipe).SaveRecord(t.Context(), ended, pipeline.Record{Deleted: true}, 0)
	must(t, err)
	returns, err := migrate.PlanBack(t.Context(), z.oned, z.pipe)
	must(t, err)
	for i, want := range []string{"another program has changed it", "never processed", "has ended"} {
		if returns[i].Body != nil || !strings.Contains(returns[i].What, want) {
			t.Errorf("%d of %v: %+v", i, []int{foreign, untouched, ended}, returns[i])
		}
	}
	// Between plan and flush a document changes: nothing is written over it.
	record.Saved = z.body(foreign).Digest()
	_, revision, err := work.NewRecords(z.pipe).LoadRecord(t.Context(), foreign)
	must(t, err)
	_, err = work.NewRecords(z.pipe).SaveRecord(t.Context(), foreign, record, revision)
	must(t, err)
	returns, err = migrate.PlanBack(t.Context(), z.oned, z.pipe)
	must(t, err)
	must(t, z.oned.Server().UpdateDocument(t.Context(), foreign, []byte(strings.Replace(text, `"a"`, `"b"`, 1))))
	if _, err := migrate.Flush(t.Context(), z.oned, z.pipe, returns); err == nil || !strings.Contains(err.Error(), "has changed since the plan was made") {
		t.Error(err)
	}
	if z.body(foreign).Description != nil {
		t.Error("a document that had changed was written over")
	}
}

// A document that does not fit together is given back as Flowjet has taken it up, and holds up no other.
func TestAnOddDocumentIsGivenBack(t *testing.T) {
	z := newZone(t)
	const text = `{"name": "a", "deployment": "none", "state": "2", "roles": [null, {"name": "r", "type": "vm", "cardinality": "0", "template_id": "0", "state": 2, "nodes": null}]}`
	odd, broken := z.document(text), z.document(`{"name": "b", "state": 2, "roles": "none"}`)
	body, repairs, err := spec.ReadService([]byte(text))
	must(t, err)
	record := pipeline.Record{Saved: spec.FoundDigest([]byte(text), body, repairs), State: flow.State{Service: spec.Service{ID: odd, Body: body}}}
	_, err = work.NewRecords(z.pipe).SaveRecord(t.Context(), odd, record, 0)
	must(t, err)
	returns, err := migrate.PlanBack(t.Context(), z.oned, z.pipe)
	must(t, err)
	if returns[0].ID != odd || returns[0].What != "its document is updated with pending changes" || returns[0].State != "RUNNING" {
		t.Errorf("%+v", returns[0])
	}
	if returns[1].ID != broken || returns[1].State != "unreadable" || returns[1].Body != nil {
		t.Errorf("%+v", returns[1])
	}
	written, err := migrate.Flush(t.Context(), z.oned, z.pipe, returns)
	must(t, err)
	if read := z.body(odd); written != 1 || len(read.Roles) != 1 || read.Digest() != body.Digest() {
		t.Errorf("%d documents were written: %+v", written, read)
	}
}

func TestPreflight(t *testing.T) {
	z := newZone(t)
	good := migrate.Preflight{
		Oned: z.oned, XMLRPC: z.sim.Endpoint(), Hooks: []string{z.sim.HooksEndpoint()}, OneFlow: "http://127.0.0.1:1", Now: time.Now,
		ConnectNATS: func(context.Context) error { return nil },
	}
	checks := good.Run(t.Context())
	if migrate.Failed(checks) || len(checks) != 6 {
		t.Errorf("%+v", checks)
	}
	second := time.Unix(1796000000, 0).UTC()
	dated := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", second.Format(http.TimeFormat)) }))
	defer dated.Close()
	late := good // oned's time is cut to whole seconds
	late.XMLRPC, late.Now = dated.URL, func() time.Time { return second.Add(900 * time.Millisecond) }
	if text := fmt.Sprintf("%+v", late.Run(t.Context())); !strings.Contains(text, "0s apart from oned's") {
		t.Errorf("the clocks are the same: %s", text)
	}
	named := good // a OneFlow on this host is one, whatever the configuration calls the host
	named.Hooks = []string{strings.Replace(z.sim.HooksEndpoint(), "127.0.0.1", "localhost", 1)}
	if checks := named.Run(t.Context()); len(checks) != 6 {
		t.Errorf("%+v", checks)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // something that is no ZeroMQ
	must(t, err)
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			conn.Close()
		}
	}()
	oneflow := httptest.NewServer(http.NotFoundHandler())
	defer oneflow.Close()
	wrong, err := opennebula.ParseCredentials("serveradmin:wrong")
	must(t, err)
	refused := opennebula.NewClient(opennebula.Config{Endpoint: z.sim.Endpoint(), Credentials: wrong})
	defer refused.Close()
	cases := map[string]struct {
		change func(*migrate.Preflight)
		want   string
	}{
		"another publisher": {func(p *migrate.Preflight) { p.Hooks = []string{"tcp://" + listener.Addr().String()} }, "not a ZeroMQ publisher"},
		"no publisher":      {func(p *migrate.Preflight) { p.Hooks = []string{"tcp://127.0.0.1:1"} }, "connection refused"},
		"OneFlow runs":      {func(p *migrate.Preflight) { p.OneFlow = oneflow.URL }, "stop it on every front-end"},
		"OneFlow on another": {func(p *migrate.Preflight) {
			p.OneFlow = strings.Replace(oneflow.URL, "127.0.0.1", "127.0.0.9", 1)
		}, "stop it on every front-end"},
		"a wrong password":     {func(p *migrate.Preflight) { p.Oned = refused }, "oneflow_auth"},
		"another zone":         {func(p *migrate.Preflight) { p.Zone = 7 }, "--zone 0"},
		"NATS is away":         {func(p *migrate.Preflight) { p.ConnectNATS = func(context.Context) error { return net.ErrClosed } }, "--nats-url"},
		"a clock an hour late": {func(p *migrate.Preflight) { p.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, "set both by NTP"},
	}
	for name, c := range cases {
		looked := good
		c.change(&looked)
		checks := looked.Run(t.Context())
		if !migrate.Failed(checks) || !strings.Contains(fmt.Sprintf("%+v", checks), c.want) {
			t.Errorf("%s: %+v", name, checks)
		}
	}
	away := opennebula.NewClient(opennebula.Config{Endpoint: "http://127.0.0.1:1/RPC2", Credentials: wrong})
	defer away.Close()
	down := good
	down.Oned, down.XMLRPC = away, "http://127.0.0.1:1/RPC2"
	if checks := down.Run(t.Context()); !strings.Contains(checks[0].Mend, "start oned") || slices.ContainsFunc(checks[1:], func(c migrate.Check) bool { return c.Mend != "" }) {
		t.Errorf("oned is down: %+v", checks)
	}
	must(t, z.sim.FailCall(sim.CallFailure{Method: "one.user.info", Count: 1 << 30, Code: opennebula.CodeInternal, Message: "Cannot process request, no leader found"}))
	if text := fmt.Sprintf("%+v", good.Run(t.Context())); strings.Contains(text, "chauth") || !strings.Contains(text, "no leader found") {
		t.Errorf("without a leader: %s", text)
	}
}

// TestWhatOneFlowLeftUnfinishedIsCompleted: a OneFlow that is stopped while it deploys a role has not noted the VMs that it has created, and
// those that it creates while it continues a service at its start are the server user's.
func TestWhatOneFlowLeftUnfinishedIsCompleted(t *testing.T) {
	z := newZone(t)
	const text = `{"name": "a", "deployment": "none", "state": 1, "roles": [{"name": "r", "type": "vm", "cardinality": 2, "template_id": 0, "state": 1, "nodes": []}]}`
	id := z.document(text)
	create := func(owner, more string) int {
		t.Helper()
		vm, err := z.oned.For(owner).InstantiateTemplate(t.Context(), 0, fmt.Sprintf("r_0_(service_%d)", id), false, fmt.Sprintf("SERVICE_ID = \"%d\"\nROLE_NAME = \"r\"\n%s", id, more))
		must(t, err)
		return vm
	}
	ended := create("oneadmin", "")
	must(t, z.oned.Server().ActOnVM(t.Context(), "terminate-hard", ended))
	foreign, keyed := create("alice", ""), create("oneadmin", fmt.Sprintf("FLOWJET_KEY = \"%d-r-0-1\"\n", id))
	first, second := create("oneadmin", ""), create("serveradmin", "")
	beyond := create("oneadmin", "") // the role has no room for it
	services, err := migrate.Plan(t.Context(), z.oned, flow.DefaultSettings(), time.Now())
	must(t, err)
	said := fmt.Sprint(services[0].Next)
	if !strings.Contains(said, "2 VMs that OneFlow created and did not note") || !strings.Contains(said, "1 VMs that OneFlow created as serveradmin are given to oneadmin") ||
		strings.Contains(said, "create vm") {
		t.Errorf("the plan is %s", said)
	}
	must(t, migrate.Complete(t.Context(), z.oned, services))
	nodes := z.body(id).Roles[0].Nodes
	if len(nodes) != 2 || nodes[0].DeployID != first || nodes[1].DeployID != second {
		t.Errorf("the role has the nodes %+v, want VMs %d and %d, none of %v", nodes, first, second, []int{ended, foreign, keyed, beyond})
	}
	vm, err := z.oned.Server().VM(t.Context(), second)
	must(t, err)
	if vm.Owner.UName != "oneadmin" {
		t.Errorf("VM %d is %s's", second, vm.Owner.UName)
	}
	if document, err := z.oned.Server().Document(t.Context(), id); err != nil {
		t.Fatal(err)
	} else if _, repairs, err := spec.ReadService(document.Body); err != nil || len(repairs) > 0 {
		t.Errorf("the document is to be repaired: %v, %v", repairs, err)
	}
	services, err = migrate.Plan(t.Context(), z.oned, flow.DefaultSettings(), time.Now())
	must(t, err)
	if said := fmt.Sprint(services[0].Next); strings.Contains(said, "OneFlow") || !strings.Contains(said, fmt.Sprintf("run on (%d, %d)", foreign, beyond)) {
		t.Errorf("a second plan is %s", said)
	}
	// A document that OneFlow goes on with is not written over.
	other := z.document(text)
	_, err = z.oned.For("oneadmin").InstantiateTemplate(t.Context(), 0, "r_0", false, fmt.Sprintf("SERVICE_ID = \"%d\"\nROLE_NAME = \"r\"\n", other))
	must(t, err)
	services, err = migrate.Plan(t.Context(), z.oned, flow.DefaultSettings(), time.Now())
	must(t, err)
	must(t, z.oned.Server().UpdateDocument(t.Context(), other, []byte(strings.Replace(text, `"state": 1, "roles"`, `"state": 2, "roles"`, 1))))
	if err := migrate.Complete(t.Context(), z.oned, services); err == nil || !strings.Contains(err.Error(), "stop OneFlow") || len(z.body(other).Roles[0].Nodes) != 0 {
		t.Errorf("the document that has changed is %+v: %v", z.body(other), err)
	}
}

// A service in HOLD waits for its release, and need not be let finish before it is given back.
func TestHeldServiceIsNotInTransition(t *testing.T) {
	z := newZone(t)
	const text = `{"name": "a", "deployment": "none", "state": %d, "roles": [{"name": "r", "type": "vm", "cardinality": 0, "template_id": 0, "state": %[1]d, "nodes": []}]}`
	for state, passing := range map[spec.ServiceState]bool{spec.ServiceHold: false, spec.ServiceScaling: true} {
		id := z.document(fmt.Sprintf(text, state))
		body := z.body(id)
		_, err := work.NewRecords(z.pipe).SaveRecord(t.Context(), id, pipeline.Record{Saved: body.Digest(), State: flow.State{Service: spec.Service{ID: id, Body: body}}}, 0)
		must(t, err)
		returns, err := migrate.PlanBack(t.Context(), z.oned, z.pipe)
		must(t, err)
		if what := returns[len(returns)-1].What; strings.Contains(what, "it is in transition") != passing {
			t.Errorf("a service in %s is %q, want one in transition: %t", state, what, passing)
		}
	}
}

// TestNetworksThatOneFlowDoesNotCreate: it creates them only when it instantiates a service.
func TestNetworksThatOneFlowDoesNotCreate(t *testing.T) {
	z := newZone(t)
	const text = `{"name": "a", "deployment": "none", "state": 11, "roles": [{"name": "r", "type": "vm", "cardinality": 1, "template_id": 0, "state": 0, "nodes": []}],
		"networks_values": [{"Own": {"reserve_from": "0", "extra": "SIZE=2"}}, {"Given": {"id": "0"}}]}`
	made, missing, never := z.document(text), z.document(text), z.document(text)
	for _, id := range []int{made, missing} {
		body := z.body(id)
		state := flow.State{Service: spec.Service{ID: id, Body: body}, Networks: []flow.Network{
			{Name: "Own", Source: spec.FromReservation, From: 0, Called: fmt.Sprintf("Own-%d", id), ID: -1, Attempted: true},
		}}
		_, err := work.NewRecords(z.pipe).SaveRecord(t.Context(), id, pipeline.Record{Saved: body.Digest(), State: state}, 0)
		must(t, err)
	}
	network, err := z.oned.For("oneadmin").ReserveNetwork(t.Context(), 0, fmt.Sprintf("SIZE=2\nNAME=\"Own-%d\"\n", made))
	must(t, err)
	returns, err := migrate.PlanBack(t.Context(), z.oned, z.pipe)
	must(t, err)
	if what := returns[0].What; !strings.Contains(what, "updated with pending changes; it is in transition") {
		t.Errorf("with its network: %s", what)
	}
	for _, one := range returns[1:] {
		if !strings.Contains(one.What, "its networks (Own) are not created, and OneFlow would create its VMs without them") {
			t.Errorf("service %d of %v: %s", one.ID, []int{missing, never}, one.What)
		}
	}
	written, err := migrate.Flush(t.Context(), z.oned, z.pipe, returns)
	must(t, err)
	if own := flow.OwnNetworks(spec.Service{Body: z.body(made)}); written != 1 || len(own) != 1 || own[0].ID != network {
		t.Errorf("%d documents were written, and the service has the networks %v, want %d", written, own, network)
	}
}

// TestCommandsFromBeforeAReturnAreNotForLater: a client was told that they are queued; OneFlow may have changed the service since.
func TestCommandsFromBeforeAReturnAreNotForLater(t *testing.T) {
	z := newZone(t)
	const text = `{"name": "a", "deployment": "none", "state": 2, "roles": [{"name": "r", "type": "vm", "cardinality": 0, "template_id": 0, "state": 2, "nodes": []}]}`
	service, ended := z.document(text), z.document(text)
	records := work.NewRecords(z.pipe)
	_, err := records.SaveRecord(t.Context(), service, pipeline.Record{Saved: z.body(service).Digest(), State: flow.State{Service: spec.Service{ID: service, Body: z.body(service)}}}, 0)
	must(t, err)
	before, err := records.SaveRecord(t.Context(), ended, pipeline.Record{Deleted: true}, 0)
	must(t, err)
	began := time.Now()
	returns, err := migrate.PlanBack(t.Context(), z.oned, z.pipe)
	must(t, err)
	_, err = migrate.Flush(t.Context(), z.oned, z.pipe, returns)
	must(t, err)
	record, _, err := records.LoadRecord(t.Context(), service)
	must(t, err)
	if record.Since.Before(began) || record.State.Service.ID != service {
		t.Errorf("commands are the service's from %v on: %+v", record.Since, record.State)
	}
	if after, err := records.RecordRevision(t.Context(), ended); err != nil || after != before {
		t.Errorf("the record of an ended service was written: %v", err)
	}
	if _, err := migrate.Flush(t.Context(), z.oned, z.pipe, returns); !errors.Is(err, pipeline.ErrConflict) {
		t.Errorf("a record that a worker has written since is written over: %v", err)
	}
}

func TestAnAPIThatStillRunsIsFound(t *testing.T) {
	z := newZone(t)
	said := []pipeline.Process{
		{ID: "a", Name: "one api", Parts: []string{"api"}}, {ID: "b", Name: "two bridge", Parts: []string{"bridge"}},
		{ID: "c", Name: "three api", Parts: []string{"api"}, Leaving: true},
	}
	ended, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
			}
			for _, process := range said {
				_ = z.pipe.Conn().Publish(pipeline.ProcessSubject(process.ID), pipeline.Encode(process))
			}
			_ = z.pipe.Conn().Publish(pipeline.WorkerSubject("w"), pipeline.Encode(pipeline.WorkerBeat{Worker: "w"}))
		}
	}()
	workers, apis, err := migrate.StillRunning(t.Context(), z.pipe)
	close(stop)
	<-ended
	must(t, err)
	if fmt.Sprint(workers, apis) != "[w] [one api]" {
		t.Errorf("the workers %v and the APIs of %v still run", workers, apis)
	}
}
