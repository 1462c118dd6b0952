package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
)

// stored is a message as it comes back from a stream.
func stored(transition Transition, number uint64) jetstream.RawStreamMsg {
	message := TransitionMessage(transition, number)
	return jetstream.RawStreamMsg{Subject: message.Subject, Header: message.Header, Data: message.Data}
}

// Each subject matches the filter by which its stream, or its listeners, take it.
func TestSubjectsMatchTheirFilters(t *testing.T) {
	vm := 21
	for subject, filter := range map[string]string{
		VMSubject(0, 21, "ACTIVE", "RUNNING"):                   SubjectsEvents,
		VMSubject(3, 21, "DONE", "LCM_INIT"):                    KindSubjects(3, "vm"),
		VMSubject(4, 21, "DONE", "LCM_INIT"):                    ObjectSubjects(4, "vm", 21),
		ObjectSubject(0, "net", 3, "READY"):                     SubjectsEvents,
		CallSubject(0, "one.vm.update", true):                   SubjectsEvents,
		CallSubject(0, "one.vm.update", false):                  SubjectsONE,
		LeaseSubject("fe1"):                                     SubjectsLeases,
		LeaseSubject("fe.1"):                                    SubjectsONE,
		WorkSubject(42):                                         SubjectsWork,
		StoredWorkSubject(42):                                   PartitionSubjects(Partition(42)),
		TimerSubject(42, "look"):                                SubjectsTimer,
		HookSubject("ops", 42):                                  SubjectsHook,
		DeadSubject("work"):                                     SubjectsDead,
		WorkerSubject("a.b"):                                    SubjectsWorker,
		BridgeSubject("fe1"):                                    SubjectsBridge,
		ProcessSubject("one"):                                   SubjectsProcess,
		KeySubject(BucketState, "42"):                           keys(BucketState),
		TransitionSubject(Transition{Service: 42}):              TransitionSubjects(42),
		TransitionSubject(transitionOf("role", "Master", nil)):  TransitionSubjects(-1),
		TransitionSubject(transitionOf("vm", "Master", &vm)):    SubjectsFlow,
		TransitionSubject(transitionOf("network", "net1", nil)): SubjectsFlow,
		TransitionSubject(transitionOf("router", "r", nil)):     SubjectsFlow,
	} {
		if !matches(subject, filter) {
			t.Errorf("%s does not match %s", subject, filter)
		}
	}
	if matches(LeaseSubject("fe1"), SubjectsEvents) {
		t.Error("a lease is taken for an event")
	}
}

// matches reports whether NATS counts a subject to a filter.
func matches(subject, filter string) bool {
	have, want := strings.Split(subject, "."), strings.Split(filter, ".")
	for i, token := range want {
		switch {
		case token == ">":
			return len(have) > i
		case i >= len(have), token != "*" && token != have[i]:
			return false
		}
	}
	return len(have) == len(want)
}

func transitionOf(kind, name string, vm *int) Transition {
	return Transition{Service: 42, Time: time.Now().UTC(), Change: flow.Change{Kind: kind, Role: name, Network: name, VM: vm, New: "NEW"}}
}

func TestTransitionsComeBackAsTheyWere(t *testing.T) {
	want := transitionOf("service", "", nil)
	want.Webhooks = []spec.Webhook{{URL: "https://ops.example"}}
	got, err := ReadTransition(stored(want, 7))
	must(t, err)
	if got.MessageID != "42-7" || got.Version != Version || len(got.Webhooks) != 1 || got.Webhooks[0].URL != want.Webhooks[0].URL || got.Service != 42 || got.New != want.New {
		t.Errorf("%+v came back as %+v", want, got)
	}
	newer, odd, none, without := stored(want, 8), stored(want, 9), stored(want, 10), stored(want, 11)
	newer.Data = []byte(`{"v":99,"service":42,"kind":"service","new":"NEW","another":{"form":1}}`)
	if got, err = ReadTransition(newer); err != nil || got.Service != 42 || got.New != want.New {
		t.Errorf("a newer Flowjet's was read as %+v (%v)", got, err)
	}
	odd.Header.Set(HeaderWebhooks, "no JSON")
	none.Data, without.Data = nil, []byte(`{"service":42}`)
	for _, message := range []jetstream.RawStreamMsg{odd, none, without} {
		if read, err := ReadTransition(message); err == nil {
			t.Errorf("%s was read as %+v", message.Data, read)
		}
	}
}

func TestTitlesAreShort(t *testing.T) {
	for want, got := range map[string]string{
		"vm 21 ACTIVE/RUNNING":   Event{Object: "vm", ID: 21, State: "ACTIVE", LCMState: "RUNNING"}.Title(),
		"net 3 READY":            Event{Object: "net", ID: 3, State: "READY"}.Title(),
		"one.vm.update 21":       Event{Object: "api", ID: 21, Call: "one.vm.update"}.Title(),
		"command scale c1 of an": Cause{Kind: "command", ID: "scale c1", User: "an"}.Title(),
		"wake":                   Cause{Kind: "wake"}.Title(),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCausesAreToldInPlainWords(t *testing.T) {
	for want, cause := range map[string]Cause{
		"VM 21 became RUNNING":                  {Kind: "event", ID: Event{Object: "vm", ID: 21, State: "ACTIVE", LCMState: "RUNNING"}.Title()},
		"VM 21 became POWEROFF":                 {Kind: "event", ID: Event{Object: "vm", ID: 21, State: "POWEROFF", LCMState: "LCM_INIT"}.Title()},
		"VM 21 ended":                           {Kind: "event", ID: Event{Object: "vm", ID: 21, State: "DONE", LCMState: "LCM_INIT"}.Title()},
		"VM 0 became UNKNOWN and 3 more":        {Kind: "event", ID: "vm 0 ACTIVE/UNKNOWN and 3 more"},
		"several VMs changed at once":           {Kind: "event"},
		"network 3 became READY":                {Kind: "event", ID: Event{Object: "net", ID: 3, State: "READY"}.Title()},
		"the user template of VM 7 was changed": {Kind: "event", ID: Event{Object: "api", ID: 7, Call: "one.vm.update"}.Title()},
		"event host 3 ERROR":                    {Kind: "event", ID: "host 3 ERROR"},
		"an requested scale":                    {Kind: "command", ID: "scale c1", User: "an"},
		"a user requested deploy":               {Kind: "command", ID: "deploy c1"},
		"a deadline passed":                     {Kind: "timer", ID: "stay"},
		"timer of-a-newer-one":                  {Kind: "timer", ID: "of-a-newer-one"},
		"its VMs were measured":                 {Kind: "measures", ID: "2030-03-17T17:46:40Z"},
		"it was checked":                        {Kind: "wake"},
		"it was checked: found in RUNNING":      {Kind: "wake", ID: "found in RUNNING"},
		"new 1":                                 {Kind: "new", ID: "1"},
	} {
		if got := cause.Text(); got != want {
			t.Errorf("%+v is %q, want %q", cause, got, want)
		}
	}
}

func TestWorkIsReadByItsVersion(t *testing.T) {
	for text, want := range map[string]Work{
		`{"v":1,"service":42}`:                       {Version: 1, Service: 42},
		`{"v":2,"service":42,"reason":"new"}`:        {Version: 2, Service: 42, Reason: "new"},
		`{"v":3,"service":42,"command":"of another"`: {},
		`{"v":3,"service":42,"command":"of another"}`: {
			Version: 3, Service: 42, Newer: true,
		},
		`{"v":0,"service":42}`: {}, `{"service":42}`: {}, `[]`: {}, ``: {}, `{"v":1,"service":"x"}`: {},
	} {
		got, err := DecodeWork([]byte(text), 2)
		if failed := want.Version == 0; (err != nil) != failed || !failed && !sameWork(got, want) {
			t.Errorf("%s was read as %+v (%v)", text, got, err)
		}
	}
	for _, text := range []string{`{"v":0}`, `{}`, `<xml>`} {
		if event, err := DecodeEvent([]byte(text)); err == nil {
			t.Errorf("%s was read as %+v", text, event)
		}
	}
	newer, err := DecodeEvent([]byte(`{"v":99,"object":"vm","id":21,"another":{"form":1}}`))
	if err != nil || newer.Object != "vm" || newer.ID != 21 {
		t.Errorf("a newer Flowjet's event was read as %+v (%v)", newer, err)
	}
}

func sameWork(a, b Work) bool {
	return a.Version == b.Version && a.Service == b.Service && a.Reason == b.Reason && a.Newer == b.Newer && a.Command == nil
}

func TestATraceIsGoneOnWith(t *testing.T) {
	ctx := context.Background()
	if WithTrace(ctx, "") != ctx {
		t.Error("without a trace the context changes")
	}
	const id = "0af7651916cd43dd8448eb211c80319c"
	carried := WithTrace(ctx, "00-"+id+"-b7ad6b7169203331-01")
	if got := trace.SpanContextFromContext(carried).TraceID().String(); got != id {
		t.Errorf("the trace is %s", got)
	}
}

func TestCursorsAreKept(t *testing.T) {
	p, ctx := single(t), limited(t)
	if at, err := p.BeginCursor(ctx, "one", 7); at != 7 || err != nil {
		t.Errorf("begun at %d (%v)", at, err)
	}
	must(t, p.SaveCursor(ctx, "one", 9))
	if at, err := p.BeginCursor(ctx, "one", 7); at != 9 || err != nil {
		t.Errorf("begun again at %d (%v)", at, err)
	}
	must(t, p.Bucket(BucketCheckpoint).Put(ctx, "one", []byte("none")))
	if _, err := p.LoadCursor(ctx, "one"); err == nil || !strings.Contains(err.Error(), "delete the key") {
		t.Errorf("what is no cursor: %v", err)
	}
	must(t, p.SaveCursor(ctx, PartitionKey(3), 100))
	must(t, p.SaveCursor(ctx, PartitionKey(5), 200))
	must(t, p.SaveCursor(ctx, RouterKey, 300))
	for stream, want := range map[string]uint64{StreamWork: 200, StreamONE: 300, StreamFlow: 0} {
		if got, err := p.FurthestCursor(ctx, stream); got != want || err != nil {
			t.Errorf("the furthest cursor of %s is %d (%v), want %d", stream, got, err, want)
		}
	}
	must(t, p.SaveCursor(ctx, WebhooksCursor, 400))
	if got, err := p.FurthestCursor(ctx, StreamFlow); got != 400 || err != nil {
		t.Errorf("the furthest cursor of %s is %d (%v) with webhooks", StreamFlow, got, err)
	}
}

// Who may make no streams finds them, or learns which one an operator has to make.
func TestABoundPipelineMakesNothing(t *testing.T) {
	url := natstest.Server(t)
	p, ctx := open(t, url), limited(t)
	bound, err := Open(ctx, Config{URL: url, Bound: true})
	must(t, err)
	bound.Close()
	must(t, p.JetStream().DeleteStream(ctx, StreamFlow))
	attached, missing, err := Attach(ctx, Config{URL: url})
	must(t, err)
	attached.Close()
	if !slices.Equal(missing, []string{StreamFlow}) {
		t.Errorf("missing are %v", missing)
	}
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := Open(short, Config{URL: url, Bound: true}); !errors.Is(err, ErrNotProvisioned) || !strings.Contains(err.Error(), StreamFlow) {
		t.Errorf("a stream is missing: %v", err)
	}
	if _, err := p.JetStream().Stream(ctx, StreamFlow); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("it was made: %v", err)
	}
}

func TestAttachWaitsForNobody(t *testing.T) {
	node := natstest.NewNode(t)
	node.Stop()
	ctx := limited(t)
	if _, _, err := Attach(ctx, Config{URL: node.URL()}); err == nil || ctx.Err() != nil {
		t.Errorf("attached to a server that is not there: %v, %v", err, ctx.Err())
	}
}

// No role may publish or read what is another's, and the operator everything of ours.
func TestRolesAreTold(t *testing.T) {
	for _, role := range Roles {
		allowed := role.Permissions()
		if len(allowed.Publish) == 0 || len(allowed.Subscribe) == 0 {
			t.Errorf("%s may do nothing", role)
		}
		if role != RoleOperator && !slices.Contains(allowed.Subscribe, role.InboxPrefix()+".>") {
			t.Errorf("%s may not read its own inbox", role)
		}
		if !slices.IsSorted(allowed.Publish) && role != RoleOperator {
			t.Errorf("%s has its subjects in no order", role)
		}
		for subject, roles := range map[string][]Role{
			SubjectsONE:       {RoleBridge, RoleAll},
			SubjectsWork:      {RoleWorker, RoleAPI, RoleAll},
			keys(BucketState): {RoleWorker, RoleAll},
			SubjectsHook:      {RoleWorker, RoleAll},
		} {
			if may := slices.Contains(allowed.Publish, subject); may != slices.Contains(roles, role) && (role != RoleOperator || subject != SubjectsONE) {
				t.Errorf("%s may publish on %s: %v", role, subject, may)
			}
		}
	}
	if unknown := Role("somebody").Permissions(); len(unknown.Publish)+len(unknown.Subscribe) > 0 {
		t.Errorf("an unknown role may %+v", unknown)
	}
}
