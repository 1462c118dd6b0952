package bridge

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// fakeZone is a zone with one oned that says what it is told to.
type fakeZone struct {
	mu     sync.Mutex
	status opennebula.RaftStatus
	probed int
	// tell is called for each probe.
	tell func()
	// endpoints are those of the servers, if there are any.
	endpoints []string
}

func (z *fakeZone) hookEndpoints(context.Context, int) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if len(z.endpoints) > 0 {
		return z.endpoints, nil
	}
	return []string{"tcp://127.0.0.1:1"}, nil
}

// A zone gets a server while the bridge runs, as when a front-end is replaced by one with another address: its events are received too.
func TestAServerThatTheZoneGetsLaterIsHeard(t *testing.T) {
	before := zoneEvery
	zoneEvery = time.Millisecond
	t.Cleanup(func() { zoneEvery = before })
	first, second := newTestPublisher(t, "127.0.0.1:0"), newTestPublisher(t, "127.0.0.1:0")
	store, z := newFakeStore(), &fakeZone{endpoints: []string{"tcp://" + first.address()}, tell: func() {}}
	b := newBridge(quietly(), store, nil, z)
	startBridge(t, b)
	must(t, first.waitForSubscriber(limited(t), b.config.topics()))
	first.send(vmFrames(booting(1)))
	storesSoon(t, store, "1 BOOT")
	z.mu.Lock()
	z.endpoints = []string{"tcp://" + second.address()} // the first stays: a server that is behind may not list it
	z.mu.Unlock()
	must(t, second.waitForSubscriber(limited(t), b.config.topics()))
	second.send(vmFrames(running(1)))
	storesSoon(t, store, "1 BOOT", "1 RUNNING")
	first.send(vmFrames(booting(2)))
	storesSoon(t, store, "1 BOOT", "1 RUNNING", "2 BOOT")
	if all := b.Status(); len(all) != 2 {
		t.Errorf("the feeds are %+v", all)
	}
}

// The feed of a server that has left the zone and is down ends, with all of its events stored and its lease released; if it comes back, it is heard again.
func TestAServerThatTheZoneLoses(t *testing.T) {
	before := zoneEvery
	zoneEvery = time.Millisecond
	t.Cleanup(func() { zoneEvery = before })
	first, second := newTestPublisher(t, "127.0.0.1:0"), newTestPublisher(t, "127.0.0.1:0")
	both := []string{"tcp://" + first.address(), "tcp://" + second.address()}
	store, z := newFakeStore(), &fakeZone{endpoints: both, tell: func() {}}
	b := newBridge(quietly(), store, nil, z)
	startBridge(t, b)
	must(t, first.waitForSubscriber(limited(t), b.config.topics()))
	must(t, second.waitForSubscriber(limited(t), b.config.topics()))
	away := errors.New("JetStream is away")
	store.set(func(f *fakeStore) { f.fail = away })
	second.send(vmFrames(booting(1)))
	poll.Until(t, "JetStream to be found away", func() bool { return b.Status()[1].StoreError != "" })
	list := func(endpoints []string) {
		z.mu.Lock()
		z.endpoints = endpoints
		z.mu.Unlock()
	}
	list(both[:1])
	second.close()
	poll.Until(t, "it to be down", func() bool { return !b.Status()[1].Connected })
	store.set(func(f *fakeStore) { f.fail = nil })
	poll.Until(t, "its feed to end", func() bool { return len(b.Status()) == 1 })
	storesSoon(t, store, "1 BOOT")
	store.set(func(f *fakeStore) {
		if f.retired != 1 || f.released != 0 {
			t.Errorf("%d leases are retired and %d released, want that of the server that has left", f.retired, f.released)
		}
	})
	if left := b.Status()[0]; left.Endpoint != both[0] || !left.Connected {
		t.Errorf("what is left is %+v", left)
	}
	list(both)
	again := newTestPublisher(t, second.address())
	must(t, again.waitForSubscriber(limited(t), b.config.topics()))
	again.send(vmFrames(running(1)))
	storesSoon(t, store, "1 BOOT", "1 RUNNING")
}

// The feed of a server that left the zone while no bridge ran ends too, and that of another host's own address is left alone.
func TestAServerThatTheZoneLostBeforeTheStart(t *testing.T) {
	before := zoneEvery
	zoneEvery = time.Millisecond
	t.Cleanup(func() { zoneEvery = before })
	first := newTestPublisher(t, "127.0.0.1:0")
	store, z := newFakeStore(), &fakeZone{endpoints: []string{"tcp://" + first.address()}, tell: func() {}}
	store.expected = []string{feedName(0, "tcp://"+first.address()), "zone0-192.0.2.1:2101", "zone0-127.0.0.1:2101@fe2", "zone7-192.0.2.2:2101"}
	b := newBridge(quietly(), store, nil, z)
	startBridge(t, b)
	must(t, first.waitForSubscriber(limited(t), b.config.topics()))
	poll.Until(t, "the feed of the server to end", func() (ended bool) {
		store.set(func(f *fakeStore) { ended = f.retired > 0 })
		return ended
	})
	if left := b.Status(); len(left) != 1 || left[0].Endpoint != "tcp://"+first.address() {
		t.Errorf("what is left is %+v", left)
	}
	store.set(func(f *fakeStore) {
		if f.retired != 1 || f.acquired != 2 {
			t.Errorf("%d leases are retired of %d acquired, want that of the server that has left, of two", f.retired, f.acquired)
		}
	})
}

func (z *fakeZone) beside(context.Context, int, string, int) (server, error) {
	return z, nil
}

func (z *fakeZone) RaftStatus(context.Context) (opennebula.RaftStatus, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.status, nil
}

func (z *fakeZone) UpdateVM(_ context.Context, id int, template string, _ bool) error {
	z.mu.Lock()
	z.probed++
	tell := z.tell
	z.mu.Unlock()
	if tell != nil && id == probeID && template == "" {
		tell()
	}
	return &opennebula.Error{Method: probeCall, Code: opennebula.CodeNoExists}
}

func (z *fakeZone) probes() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.probed
}

func attended(t *testing.T, z *fakeZone) (*Bridge, *fakeStore, *publisher) {
	t.Helper()
	store, publisher := newFakeStore(), newTestPublisher(t, "127.0.0.1:0")
	config := quietly("tcp://" + publisher.address())
	config.Quiet = 60 * time.Millisecond
	b := newBridge(config, store, nil, z)
	startBridge(t, b)
	must(t, publisher.waitForSubscriber(limited(t), b.config.topics()))
	return b, store, publisher
}

func TestADeadPublisherIsConnectedToAnew(t *testing.T) {
	z := &fakeZone{}
	b, _, _ := attended(t, z)
	poll.Until(t, "a new connection", func() bool { return b.Status()[0].Gaps >= 1 && b.Status()[0].Connected })
	// An oned that never tells of probes is believed in the end.
	poll.Until(t, "the probes", func() bool { return z.probes() == maxUnanswered })
	if role := b.Status()[0].Role; role != "solo" {
		t.Errorf("role %q", role)
	}
}

func TestAnIdlePublisherIsLeftAlone(t *testing.T) {
	z := &fakeZone{}
	b, store, publisher := attended(t, z)
	z.mu.Lock()
	z.tell = func() {
		frames := callFrames(probeCall, "<PARAMETER><POSITION>2</POSITION><TYPE>IN</TYPE><VALUE>2147483647</VALUE></PARAMETER>"+
			"<PARAMETER><POSITION>3</POSITION><TYPE>IN</TYPE><VALUE></VALUE></PARAMETER><PARAMETER><POSITION>4</POSITION><TYPE>IN</TYPE><VALUE>1</VALUE></PARAMETER>")
		refused := changedFrames(frames, "EVENT API "+probeCall+" 0", "<RESULT>1", "<RESULT>0")
		publisher.send(refused)
	}
	z.mu.Unlock()
	poll.Until(t, "some probes", func() bool { return z.probes() > 4 })
	if status := b.Status()[0]; status.Gaps != 0 || len(store.stored()) != 0 || status.DeadLetters != 0 {
		t.Errorf("status %+v, stored %q", status, store.stored())
	}
}

func TestAFollowerIsNotProbedAndANewLeaderIsComparedWith(t *testing.T) {
	z := &fakeZone{status: opennebula.RaftStatus{State: opennebula.RaftFollower, Term: 1}}
	b, _, _ := attended(t, z)
	poll.Until(t, "the role", func() bool { return b.Status()[0].Role == "follower" })
	select {
	case <-b.resyncer.requests: // from connecting
	default:
	}
	z.mu.Lock()
	probed := z.probed
	z.status = opennebula.RaftStatus{State: opennebula.RaftLeader, Term: 2}
	z.mu.Unlock()
	if probed != 0 {
		t.Error("a follower was probed")
	}
	select {
	case <-b.resyncer.requests:
	case <-limited(t).Done():
		t.Error("no comparison is asked for")
	}
}

func TestEndpointsAreFoundInTheZone(t *testing.T) {
	z := &fakeZone{}
	b := newBridge(quietly(), newFakeStore(), nil, z)
	startBridge(t, b)
	if endpoint := b.Status()[0].Endpoint; endpoint != "tcp://127.0.0.1:1" {
		t.Errorf("endpoint %q", endpoint)
	}
}

// The simulated oned answers as a real one: the probe is told of, and passes to
// nobody.
func TestProbingTheSimulatedZone(t *testing.T) {
	z := newZone(t)
	found, err := onedZone{client: z.client}.hookEndpoints(limited(t), 0)
	must(t, err)
	if !slices.Equal(found, []string{"tcp://127.0.0.1:2101"}) {
		t.Errorf("endpoints %q", found)
	}
	config := quietly(z.oned.HooksEndpoint())
	config.Quiet = 120 * time.Millisecond
	b := New(config, openPipeline(t, z.p.Conn().ConnectedUrl()), z.client)
	startBridge(t, b)
	poll.Until(t, "two probes to be heard", func() bool { return b.Status()[0].Heard >= 2 })
	if status := b.Status()[0]; status.Gaps != 0 || status.Role != "solo" {
		t.Errorf("status %+v", status)
	}
	for _, message := range everything(t, z.p, pipeline.StreamONE) {
		if strings.Contains(string(message.Data), "2147483647") {
			t.Errorf("a probe is stored: %s", message.Data)
		}
	}
}

// In a zone of several servers each has a hook manager of its own.
func TestEachServerOfAZoneHasAnEndpoint(t *testing.T) {
	oned, err := sim.New(sim.Config{Others: []sim.ServerAddress{
		{XMLRPCListen: "127.0.0.2:0", HooksListen: "127.0.0.2:0"}, {XMLRPCListen: "127.0.0.3:0", HooksListen: "127.0.0.3:0"},
	}})
	must(t, err)
	must(t, oned.Start(limited(t)))
	t.Cleanup(func() { must(t, oned.Stop(limited(t))) })
	credentials, err := opennebula.ParseCredentials(oned.ServerCredentials())
	must(t, err)
	client := opennebula.NewClient(opennebula.Config{Endpoint: oned.Endpoint(), Credentials: credentials})
	t.Cleanup(client.Close)
	found, err := onedZone{client: client, xmlrpc: "http://one-of-them:2633/RPC2"}.hookEndpoints(limited(t), 0)
	must(t, err)
	if want := []string{"tcp://127.0.0.1:2101", "tcp://127.0.0.2:2101", "tcp://127.0.0.3:2101"}; !slices.Equal(found, want) {
		t.Errorf("endpoints %q, want %q", found, want)
	}
}

func TestAZoneWithoutServersHasItsEndpointWhereOnedAnswers(t *testing.T) {
	z := newZone(t)
	found, err := onedZone{client: z.client, xmlrpc: "http://oned.example:2633/RPC2"}.hookEndpoints(limited(t), 0)
	must(t, err)
	if !slices.Equal(found, []string{"tcp://oned.example:2101"}) {
		t.Errorf("endpoints %q", found)
	}
}
