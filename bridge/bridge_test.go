package bridge

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// vmFrames are a VM's event as oned publishes it.
func vmFrames(vm one.VM) [][]byte {
	body := fmt.Sprintf("<HOOK_MESSAGE><RESOURCE_ID>%d</RESOURCE_ID><REMOTE_HOST></REMOTE_HOST><VM><ID>%d</ID><NAME>%s</NAME><STATE>%d</STATE><LCM_STATE>%d</LCM_STATE>"+
		"<USER_TEMPLATE><SERVICE_ID>%d</SERVICE_ID><ROLE_NAME>%s</ROLE_NAME></USER_TEMPLATE></VM></HOOK_MESSAGE>",
		vm.ID, vm.ID, vm.Name, vm.State, vm.LCMState, vm.Service, vm.Role)
	key := fmt.Sprintf("EVENT STATE VM/%s/%s/%d ", vm.State, vm.LCMState, vm.ID)
	return [][]byte{[]byte(key), []byte(base64.StdEncoding.EncodeToString([]byte(body)))}
}

// callFrames are a successful API call as oned publishes it.
func callFrames(call, parameters string) [][]byte {
	body := "<HOOK_MESSAGE><HOOK_TYPE>API</HOOK_TYPE><CALL>" + call + "</CALL><CALL_INFO><RESULT>1</RESULT><PARAMETERS>" + parameters +
		"</PARAMETERS><EXTRA></EXTRA></CALL_INFO></HOOK_MESSAGE>"
	return [][]byte{[]byte("EVENT API " + call + " 1"), []byte(base64.StdEncoding.EncodeToString([]byte(body)))}
}

// changedFrames are frames with another key and a change in the body.
func changedFrames(frames [][]byte, key, before, after string) [][]byte {
	body, _ := base64.StdEncoding.DecodeString(string(frames[1]))
	changed := strings.Replace(string(body), before, after, 1)
	return [][]byte{[]byte(key), []byte(base64.StdEncoding.EncodeToString([]byte(changed)))}
}

func running(id int) one.VM { return serviceVM(id, one.VMActive, one.LCMRunning) }
func booting(id int) one.VM { return serviceVM(id, one.VMActive, one.LCMBoot) }

// storesSoon waits until exactly these are stored.
func storesSoon(t testing.TB, store *fakeStore, want ...string) {
	t.Helper()
	var have []string
	defer func() {
		if t.Failed() {
			t.Logf("stored %q, want %q", have, want)
		}
	}()
	poll.Until(t, fmt.Sprintf("%q to be stored", want), func() bool {
		have = store.stored()
		return slices.Equal(have, want)
	})
}

// quietly is a configuration in which nothing happens by the clock.
func quietly(endpoints ...string) Config {
	return Config{Endpoints: endpoints, Events: servicesNeed, Standby: time.Millisecond, ResyncEvery: time.Hour, ResyncSettle: time.Hour}
}

// servicesNeed are the events that services need, and those of hosts and images.
var servicesNeed = []string{"vm", "net", "host", "image", "one.vm.update"}

// hearing starts a bridge on a fake store and a publisher of ours.
func hearing(t testing.TB, change ...func(*Config)) (*Bridge, *fakeStore, *publisher) {
	t.Helper()
	store, publisher := newFakeStore(), newTestPublisher(t, "127.0.0.1:0")
	config := quietly("tcp://" + publisher.address())
	for _, apply := range change {
		apply(&config)
	}
	b := newBridge(config, store, nil, nil)
	startBridge(t, b)
	must(t, publisher.waitForSubscriber(limited(t), b.config.topics()))
	poll.Until(t, "the feed to be held", func() bool { return b.Status()[0].Holding })
	return b, store, publisher
}

func TestRepetitionsAreEventsAndRetriesAreNot(t *testing.T) {
	_, store, publisher := hearing(t)
	store.set(func(f *fakeStore) { f.lostAck = true })
	publisher.send(vmFrames(booting(1)))
	publisher.send(vmFrames(running(1)))
	publisher.send(vmFrames(booting(1)))
	storesSoon(t, store, "1 BOOT", "1 RUNNING", "1 BOOT")
}

func TestEventsWaitInOrderWhileJetStreamIsAway(t *testing.T) {
	var log testlog.Log
	b, store, publisher := hearing(t, func(c *Config) { c.Logger = log.Logger() })
	store.set(func(f *fakeStore) { f.fail = errors.New("no JetStream today") })
	var want []string
	for id := range 40 {
		publisher.send(vmFrames(running(id)))
		want = append(want, fmt.Sprint(id, " RUNNING"))
	}
	poll.Until(t, "some attempts to publish", func() bool { return store.attempted() > 3 && b.Status()[0].Heard == 40 })
	status := b.Status()[0]
	if status.Published != 0 || status.StoreError == "" || queuedBytes(b) == 0 {
		t.Errorf("status %+v", status)
	}
	store.set(func(f *fakeStore) { f.fail = nil })
	storesSoon(t, store, want...)
	poll.Until(t, "the queue to be empty", func() bool { return queuedBytes(b) == 0 })
	if told := strings.Count(log.String(), "JetStream does not accept events"); told != 1 {
		t.Errorf("the outage was told %d times", told)
	}
}

// With neither memory nor disk left, events are dropped, and made up for.
func TestFullWindowDropsAndCompares(t *testing.T) {
	// Until everything was heard oned does not answer: the comparisons of the start would find some before they are heard of.
	cloud := &fakeCloud{vms: map[int]one.VM{}, fail: errors.New("no oned today")}
	store, publisher := newFakeStore(), newTestPublisher(t, "127.0.0.1:0")
	config := quietly("tcp://" + publisher.address())
	config.MaxQueueBytes = 4096
	b := newBridge(config, store, cloud, nil)
	startBridge(t, b)
	must(t, publisher.waitForSubscriber(limited(t), b.config.topics()))

	block := make(chan struct{})
	store.set(func(f *fakeStore) { f.block = block })
	for id := range 30 {
		publisher.send(vmFrames(running(id)))
		cloud.set(func(f *fakeCloud) { f.vms[id] = running(id) })
	}
	poll.Until(t, "the buffer to be full", func() bool { return b.Status()[0].Dropped > 0 && b.Status()[0].Heard == 30 })
	if queued := queuedBytes(b); queued > 4096 {
		t.Errorf("%d bytes are queued", queued)
	}
	close(block)
	poll.Until(t, "what was heard to be stored", func() bool { return b.Status()[0].QueueLength == 0 })
	cloud.set(func(f *fakeCloud) { f.fail = nil })
	poll.Until(t, "all to be stored", func() bool { return len(store.stored()) == 30 })
	stored := store.stored()
	if stored[0] != "0 RUNNING" || stored[29] != "29 RUNNING resync" {
		t.Errorf("stored %q", stored)
	}
}

func TestSpillFileKeepsOrder(t *testing.T) {
	b, store, publisher := hearing(t, func(c *Config) { c.MaxQueueBytes, c.SpillDir = 4096, t.TempDir() })
	block := make(chan struct{})
	store.set(func(f *fakeStore) { f.block = block })
	var want []string
	send := func(from, to int) {
		for id := from; id < to; id++ {
			publisher.send(vmFrames(running(id)))
			want = append(want, fmt.Sprint(id, " RUNNING"))
		}
	}
	send(0, 300)
	poll.Until(t, "the spill file to be used", func() bool { return b.Status()[0].Spilled > 250 && b.Status()[0].Heard == 300 })
	close(block)
	send(300, 600)
	storesSoon(t, store, want...)
	if status := b.Status()[0]; status.Dropped != 0 || status.Spilled != 0 {
		t.Errorf("status %+v", status)
	}
}

func TestPublisherRestart(t *testing.T) {
	var log testlog.Log
	store, first := newFakeStore(), newTestPublisher(t, "127.0.0.1:0")
	cloud := &fakeCloud{vms: map[int]one.VM{1: running(1)}}
	config := quietly("tcp://" + first.address())
	config.Logger = log.Logger()
	b := newBridge(config, store, cloud, nil)
	startBridge(t, b)
	must(t, first.waitForSubscriber(limited(t), b.config.topics()))
	first.send(vmFrames(running(1)))
	poll.Until(t, "the event", func() bool { return slices.Contains(store.stored(), "1 RUNNING") })
	poll.Until(t, "a comparison", func() bool { return !b.Status()[0].LastResync.IsZero() })

	first.close()
	poll.Until(t, "the loss to be noticed", func() bool { return !b.Status()[0].Connected })
	cloud.set(func(f *fakeCloud) { f.vms[2] = booting(2) }) // told to nobody
	second := newTestPublisher(t, first.address())
	must(t, second.waitForSubscriber(limited(t), b.config.topics()))
	poll.Until(t, "what was lost", func() bool { return slices.Contains(store.stored(), "2 BOOT resync") })
	second.send(vmFrames(running(2)))
	poll.Until(t, "live events to go on", func() bool { return slices.Contains(store.stored(), "2 RUNNING") })
	if told := strings.Count(log.String(), "cannot connect to the hook events"); told != 1 {
		t.Errorf("the loss was told %d times", told)
	}
}

// zmq4's own PUB socket, for there is nothing of ours in it.
func TestHearsARealPUBSocket(t *testing.T) {
	pub := zmq4.NewPub(context.Background())
	must(t, pub.Listen("tcp://127.0.0.1:0"))
	store := newFakeStore()
	b := newBridge(quietly("tcp://"+pub.Addr().String()), store, nil, nil)
	startBridge(t, b)
	poll.Until(t, "the subscriptions", func() bool {
		return slices.Equal(pub.(zmq4.Topics).Topics(), []string{"EVENT API one.vm.update ", "EVENT STATE "})
	})
	must(t, pub.SendMulti(zmq4.NewMsgFrom([]byte("EVENT SERVICE 42 "), []byte("not wanted"))))
	must(t, pub.Send(zmq4.NewMsgFrom(vmFrames(booting(1))...)))
	must(t, pub.SendMulti(zmq4.NewMsgFrom(vmFrames(running(1))...)))
	storesSoon(t, store, "1 BOOT", "1 RUNNING")
	must(t, pub.Close())
}

func TestHearsSeveralEndpoints(t *testing.T) {
	other := newTestPublisher(t, "127.0.0.1:0")
	b, store, publisher := hearing(t, func(c *Config) { c.Endpoints = append(c.Endpoints, "tcp://"+other.address()) })
	must(t, other.waitForSubscriber(limited(t), b.config.topics()))
	publisher.send(vmFrames(booting(1)))
	storesSoon(t, store, "1 BOOT")
	other.send(vmFrames(running(1)))
	storesSoon(t, store, "1 BOOT", "1 RUNNING")
	for _, status := range b.Status() {
		if !status.Connected || status.Heard != 1 || status.Published != 1 || !status.Holding {
			t.Errorf("status %+v", status)
		}
	}
}

func TestSupersededBridgeStandsBackAndComesBack(t *testing.T) {
	b, store, publisher := hearing(t)
	store.set(func(f *fakeStore) { f.fail = fmt.Errorf("publish: %w", pipeline.ErrSuperseded) })
	publisher.send(vmFrames(booting(1)))
	poll.Until(t, "the feed to be taken back", func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.acquired > 1
	})
	store.set(func(f *fakeStore) { f.fail = nil })
	poll.Until(t, "events to be stored again", func() bool {
		publisher.send(vmFrames(running(1)))
		return len(store.stored()) > 0
	})
	if !b.Status()[0].Holding {
		t.Error("the feed is not held")
	}
}

func TestAStandbyKeepsAwayUntilTheHolderLeaves(t *testing.T) {
	p, publisher := newPipeline(t), newTestPublisher(t, "127.0.0.1:0")
	config := quietly("tcp://" + publisher.address())
	config.Standby = 200 * time.Millisecond
	first := New(config, p, nil)
	startBridge(t, first)
	poll.Until(t, "the first to hold the feed", func() bool { return first.Status()[0].Holding })
	second := New(config, p, nil)
	startBridge(t, second)
	must(t, publisher.waitForSubscribers(limited(t), 2))
	sent := 0
	send := func(count int) {
		for range count {
			publisher.send(vmFrames(running(sent)))
			sent++
		}
	}
	for range 20 { // a second and more
		send(5)
		must(t, idle.For(limited(t), 30*time.Millisecond))
	}
	poll.Until(t, "all to be stored", func() bool { return first.Status()[0].Published == uint64(sent) })
	if status := second.Status()[0]; status.Holding || status.Published != 0 || !status.Connected || kept(second) != sent {
		t.Fatalf("the standby does not stand by: %+v", status)
	}
	must(t, first.Stop(limited(t)))
	send(5)
	poll.Until(t, "the second to go on", func() bool { return second.Status()[0].Published == 5 })
	checkSequence(t, everything(t, p, pipeline.StreamONE), sent)
}

// TestAHolderThatWasReplacedUnheardEnds: who took the feed and died before it was heard leaves a
// lease that nobody serves. The holder of before must not announce itself for ever.
func TestAHolderThatWasReplacedUnheardEnds(t *testing.T) {
	p, publisher := newPipeline(t), newTestPublisher(t, "127.0.0.1:0")
	config := quietly("tcp://" + publisher.address())
	config.Standby = 200 * time.Millisecond
	b := New(config, p, nil)
	startBridge(t, b)
	poll.Until(t, "the feed to be held", func() bool { return b.Status()[0].Holding })
	all, feed := feeds.New(p), b.Status()[0].Feed
	_, sequence, err := all.LastLease(t.Context(), feed)
	must(t, err)
	taken, err := all.Acquire(t.Context(), feed, "who dies at once", sequence)
	must(t, err)
	poll.Until(t, "the feed to be taken back", func() bool {
		last, sequence, err := all.LastLease(t.Context(), feed)
		return err == nil && sequence > taken.Sequence() && last.Token != taken.Token()
	})
}

// checkSequence makes sure that VMs 0 to count-1 are stored, each once, in order.
func checkSequence(t testing.TB, messages []stored, count int) {
	t.Helper()
	for i, message := range messages {
		if want := fmt.Sprintf("one.0.vm.%d.ACTIVE.RUNNING", i); message.Subject != want {
			t.Fatalf("event %d of %d is %s, want %s", i, len(messages), message.Subject, want)
		}
	}
	if len(messages) != count {
		t.Fatalf("%d events are stored, want %d", len(messages), count)
	}
}

func TestEventsSurviveARestartOfNATS(t *testing.T) {
	node := natstest.NewNode(t)
	p, publisher := openPipeline(t, node.URL()), newTestPublisher(t, "127.0.0.1:0")
	b := New(quietly("tcp://"+publisher.address()), p, nil)
	startBridge(t, b)
	must(t, publisher.waitForSubscriber(limited(t), b.config.topics()))
	var want []string
	send := func(from, to int) {
		for id := from; id < to; id++ {
			publisher.send(vmFrames(running(id)))
			want = append(want, fmt.Sprintf("one.0.vm.%d.ACTIVE.RUNNING", id))
		}
	}
	send(0, 20)
	poll.Until(t, "the first events", func() bool { return b.Status()[0].Published == 20 })
	node.Stop()
	send(20, 60)
	poll.Until(t, "the rest to be heard", func() bool { return b.Status()[0].Heard == 60 })
	node.Start()
	poll.Until(t, "all events", func() bool { return b.Status()[0].Published == 60 })
	var have []string
	for _, message := range everything(t, p, pipeline.StreamONE) {
		have = append(have, message.Subject)
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("stored %q", have)
	}
}

func TestStopStoresWhatWasHeard(t *testing.T) {
	b, store, publisher := hearing(t)
	block := make(chan struct{})
	store.set(func(f *fakeStore) { f.block = block })
	for id := range 600 { // more than a batch
		publisher.send(vmFrames(running(id)))
	}
	poll.Until(t, "all to be heard", func() bool { return b.Status()[0].Heard == 600 })
	stopped := make(chan error, 1)
	go func() { stopped <- b.Stop(limited(t)) }()
	<-b.hearing.Done()
	close(block)
	must(t, <-stopped)
	if count := len(store.stored()); count != 600 {
		t.Errorf("%d of 600 are stored", count)
	}
}

func TestStopIsBounded(t *testing.T) {
	b, store, publisher := hearing(t)
	store.set(func(f *fakeStore) { f.fail = errors.New("never") })
	publisher.send(vmFrames(running(1)))
	poll.Until(t, "an attempt", func() bool { return store.attempted() > 0 })
	ctx := limited(t)
	must(t, b.Stop(ctx))
	must(t, ctx.Err())
	must(t, b.Stop(ctx))
}

func TestStopWithoutAnybodyThere(t *testing.T) {
	store := newFakeStore()
	store.fail = errors.New("no JetStream")
	b := newBridge(quietly("tcp://127.0.0.1:1"), store, &fakeCloud{fail: errors.New("no oned")}, nil)
	must(t, b.Stop(limited(t))) // not started
	startBridge(t, b)
	poll.Until(t, "JetStream to be missed", func() bool { return b.Status()[0].StoreError != "" })
	store.set(func(f *fakeStore) { f.fail = nil })
	poll.Until(t, "publisher and oned to be missed", func() bool {
		status := b.Status()[0]
		return status.Error != "" && status.ResyncError != "" && status.Holding && !status.Connected
	})
	if err := b.Start(limited(t)); err == nil {
		t.Error("started twice")
	}
}

func TestStartRefusesEndpointsThatAreNone(t *testing.T) {
	for _, endpoint := range []string{"", "127.0.0.1:2101", "udp://a:1", "tcp://a", "tcp://:1", "tcp://a:"} {
		if err := newBridge(Config{Endpoints: []string{endpoint}}, newFakeStore(), nil, nil).Start(limited(t)); err == nil {
			t.Errorf("%q was accepted", endpoint)
		}
	}
	if err := newBridge(Config{}, newFakeStore(), nil, nil).Start(limited(t)); err == nil {
		t.Error("no endpoint at all was accepted")
	}
}

func TestFeedNames(t *testing.T) {
	if name := feedName(0, "tcp://127.0.0.1:2101"); name != "zone0-127.0.0.1:2101@"+pipeline.Hostname() {
		t.Errorf("loopback feed %q", name)
	}
	if name := feedName(1, "tcp://b:1"); name != "zone1-b:1" {
		t.Errorf("feed %q", name)
	}
}

func TestChosenObjectsAndCallsOnly(t *testing.T) {
	b, store, publisher := hearing(t, func(c *Config) {
		c.Events = []string{"net", "one.vm.chown"}
	})
	if topics := b.config.topics(); !slices.Equal(topics, []string{opennebula.StateSubscription, "EVENT API one.vm.update ", "EVENT API one.vm.chown "}) {
		t.Errorf("topics %q", topics)
	}
	publisher.send(vmFrames(running(1)))
	body := base64.StdEncoding.EncodeToString([]byte("<HOOK_MESSAGE><RESOURCE_ID>3</RESOURCE_ID></HOOK_MESSAGE>"))
	publisher.send([][]byte{[]byte("EVENT STATE NET/READY//3 "), []byte(body)})
	storesSoon(t, store, "net 3 READY")
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	b, store, publisher := hearing(t, func(c *Config) { c.Registerer = registry })
	publisher.send(vmFrames(running(1)))
	publisher.send([][]byte{[]byte("EVENT STATE nonsense"), nil})
	publisher.send(vmFrames(running(2)))
	storesSoon(t, store, "1 RUNNING", "2 RUNNING")
	poll.Until(t, "an empty queue", func() bool { return queuedBytes(b) == 0 && metric(t, registry, "queue_bytes") == 0 })
	if events := metric(t, registry, "events_total"); events != 2 {
		t.Errorf("%g events", events)
	}
	if deadLetters := metric(t, registry, "dead_letters_total"); deadLetters != 1 || len(store.dead) != 1 {
		t.Errorf("%g dead letters", deadLetters)
	}
	if last := metric(t, registry, "last_event_timestamp_seconds"); time.Since(time.UnixMicro(int64(last*1e6))) > time.Minute {
		t.Errorf("last event at %g", last)
	}
}

// queuedBytes is the memory of a bridge's first feed for events that are not stored.
func queuedBytes(b *Bridge) int64 {
	buffer := b.all()[0].buffer
	buffer.mu.Lock()
	defer buffer.mu.Unlock()
	return buffer.waiting
}

// kept is how many events a bridge keeps of its first feed.
func kept(b *Bridge) int {
	buffer := b.all()[0].buffer
	buffer.mu.Lock()
	defer buffer.mu.Unlock()
	return len(buffer.entries)
}

// metric is the value of a metric with one series, -1 where there is none.
func metric(t testing.TB, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		if family.GetName() == "flowjet_bridge_"+name && len(family.Metric) == 1 {
			return family.Metric[0].GetCounter().GetValue() + family.Metric[0].GetGauge().GetValue()
		}
	}
	return -1
}
