package bridge

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// storedAs is a VM's event as it was stored at a time.
func storedAs(vm one.VM, heard time.Time) pipeline.Event {
	return pipeline.Event{Object: "vm", ID: vm.ID, State: vm.State.String(), LCMState: vm.LCMState.String(), VM: &vm, Heard: heard}
}

func TestDifferences(t *testing.T) {
	before, after := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	foreign := running(1)
	foreign.Service = -1
	ready := running(1)
	ready.Ready = true
	cases := map[string]struct {
		listed, stored one.VM
		heard          time.Time
		found          bool
	}{
		"the same":                          {listed: running(1), stored: running(1), heard: before},
		"another state":                     {listed: running(1), stored: booting(1), heard: before, found: true},
		"another state, but news are newer": {listed: running(1), stored: booting(1), heard: after},
		"ready":                             {listed: ready, stored: running(1), heard: before, found: true},
		"never seen":                        {listed: running(1), found: true},
		"never seen, of no service":         {listed: foreign},
		"seen, of no service any more":      {listed: foreign, stored: running(1), heard: before, found: true},
		"gone":                              {stored: running(1), heard: before, found: true},
		"gone, which is known":              {stored: serviceVM(1, one.VMDone, 0), heard: before},
		"made after the list":               {stored: running(1), heard: after},
	}
	for name, c := range cases {
		cloud, store := &fakeCloud{vms: map[int]one.VM{}}, newFakeStore()
		if c.listed.Name != "" {
			cloud.vms[1] = c.listed
		}
		if c.stored.Name != "" {
			store.last[1] = storedAs(c.stored, c.heard)
		}
		b := newBridge(quietly(), store, cloud, nil)
		r := b.resyncer.newComparison()
		must(t, r.run(limited(t)))
		if (len(store.events) == 1) != c.found || len(store.events) > 1 {
			t.Errorf("%s: found %+v", name, store.events)
		}
	}
}

// comparing starts a bridge with an oned that nobody publishes for.
func comparing(t testing.TB, cloud *fakeCloud, store *fakeStore) (*Bridge, *publisher) {
	t.Helper()
	publisher := newTestPublisher(t, "127.0.0.1:0")
	b := newBridge(quietly("tcp://"+publisher.address()), store, cloud, nil)
	startBridge(t, b)
	must(t, publisher.waitForSubscriber(limited(t), b.config.topics()))
	poll.Until(t, "the feed to be held", func() bool { return b.Status()[0].Holding })
	compared(t, b)
	compared(t, b) // nothing is asked for any more
	return b, publisher
}

// compared waits for the next comparison to succeed.
func compared(t testing.TB, b *Bridge) {
	t.Helper()
	before := b.Status()[0].LastResync
	b.resyncer.request("a test")
	poll.Until(t, "a comparison", func() bool { return b.Status()[0].LastResync.After(before) })
}

func TestResyncPublishesOnlyDifferences(t *testing.T) {
	foreign := running(9)
	foreign.Service = -1
	cloud := &fakeCloud{vms: map[int]one.VM{1: running(1), 2: running(2), 9: foreign}}
	store := newFakeStore()
	store.last[2] = storedAs(booting(2), time.Now().Add(-time.Hour))
	store.last[3] = storedAs(running(3), time.Now().Add(-time.Hour))
	b, _ := comparing(t, cloud, store)
	storesSoon(t, store, "1 RUNNING resync", "2 RUNNING resync", "3 DONE resync")
	if gone := store.events[2]; gone.Subject != "one.0.vm.3.DONE.LCM_INIT" || gone.Event.VM.Role != "web" || !gone.Event.VM.Gone() {
		t.Errorf("the VM that is gone: %+v of %+v", gone, gone.Event.VM)
	}
	compared(t, b)
	compared(t, b)
	storesSoon(t, store, "1 RUNNING resync", "2 RUNNING resync", "3 DONE resync")
	if counted := metric(t, b.config.Registerer.(*prometheus.Registry), "resync_differences_total"); counted != 3 {
		t.Errorf("%g differences counted", counted)
	}
}

// While oned makes its list the VM goes on. The list, which is older, must not
// come after the event.
func TestOldListNeverOverridesNewerEvent(t *testing.T) {
	cloud, store := &fakeCloud{vms: map[int]one.VM{}}, newFakeStore()
	b, publisher := comparing(t, cloud, store)
	for round := range 20 {
		id := 100 + round
		cloud.set(func(f *fakeCloud) {
			f.vms = map[int]one.VM{id: booting(id), id + 1000: booting(id + 1000)}
			f.listing = func() {
				heard := b.Status()[0].Heard
				publisher.send(vmFrames(running(id)))
				poll.Until(t, "the event to be heard", func() bool { return b.Status()[0].Heard == heard+1 })
			}
		})
		store.set(func(f *fakeStore) { f.events, f.last = nil, map[int]pipeline.Event{} })
		compared(t, b)
		storesSoon(t, store, fmt.Sprint(id, " RUNNING"), fmt.Sprint(id+1000, " BOOT resync"))
	}
}

// What another bridge has stored since the list was asked for is newer too.
func TestOldListNeverOverridesAnotherBridge(t *testing.T) {
	cloud, store := &fakeCloud{vms: map[int]one.VM{1: booting(1)}}, newFakeStore()
	cloud.listing = func() {
		store.set(func(f *fakeStore) { f.last[1] = storedAs(running(1), time.Now().Add(time.Millisecond)) })
		cloud.set(func(f *fakeCloud) { f.vms[1] = running(1) }) // too late for this list
	}
	comparing(t, cloud, store)
	if stored := store.stored(); slices.Contains(stored, "1 BOOT resync") {
		t.Errorf("stored %q", stored)
	}
}

// TestOldListNeverOverridesAnEventThatIsNotWritten: oned sends an event before it writes to its
// database, from which it lists. The list, which is older, must not come after the event; a
// difference that stays is published.
func TestOldListNeverOverridesAnEventThatIsNotWritten(t *testing.T) {
	off := func(id int) one.VM { return serviceVM(id, one.VMPoweroff, 0) }
	synctest.Test(t, func(t *testing.T) {
		cloud, store := &fakeCloud{vms: map[int]one.VM{1: running(1), 2: running(2)}}, newFakeStore()
		for id := 1; id <= 2; id++ {
			store.last[id] = storedAs(off(id), time.Now().Add(-time.Millisecond))
		}
		cloud.listing = func() { cloud.set(func(f *fakeCloud) { f.vms[1] = off(1) }) } // too late for this list
		must(t, newBridge(quietly(), store, cloud, nil).resyncer.newComparison().run(limited(t)))
		if stored := store.stored(); !slices.Equal(stored, []string{"2 RUNNING resync"}) {
			t.Errorf("stored %q", stored)
		}
	})
}

func TestResyncWaitsForWhatWasHeardBefore(t *testing.T) {
	cloud, store := &fakeCloud{vms: map[int]one.VM{1: running(1)}}, newFakeStore()
	store.last[1] = storedAs(running(1), time.Now().Add(-time.Hour))
	b, publisher := comparing(t, cloud, store)
	block := make(chan struct{})
	store.set(func(f *fakeStore) { f.block = block })
	publisher.send(vmFrames(booting(1)))
	publisher.send(vmFrames(running(1)))
	poll.Until(t, "the events to be heard", func() bool { return b.Status()[0].Heard == 2 })
	asked := len(cloud.asked)
	b.resyncer.request("a test")
	poll.Until(t, "the barrier", func() bool { return b.Status()[0].QueueLength > 0 || store.attempted() > 1 })
	if len(cloud.asked) != asked {
		t.Error("oned was asked before the events were stored")
	}
	close(block)
	compared(t, b)
	storesSoon(t, store, "1 BOOT", "1 RUNNING")
}

func TestHiddenVMIsNotDone(t *testing.T) {
	cloud, store := &fakeCloud{vms: map[int]one.VM{}, hidden: map[int]bool{1: true}}, newFakeStore()
	store.last[1] = storedAs(running(1), time.Now().Add(-time.Hour))
	comparing(t, cloud, store)
	if stored := store.stored(); len(stored) != 0 {
		t.Errorf("stored %q", stored)
	}
}

func TestVMThatWasMissedInTheListIsTakenAsItIs(t *testing.T) {
	cloud, store := &fakeCloud{vms: map[int]one.VM{1: serviceVM(1, one.VMDone, 0)}}, newFakeStore()
	store.last[1] = storedAs(running(1), time.Now().Add(-time.Hour))
	comparing(t, cloud, store)
	storesSoon(t, store, "1 DONE resync")
}

func TestResyncIsTriedAgain(t *testing.T) {
	cloud, store := &fakeCloud{vms: map[int]one.VM{1: running(1)}, fail: errors.New("oned is restarting")}, newFakeStore()
	b := newBridge(quietly("tcp://127.0.0.1:1"), store, cloud, nil)
	startBridge(t, b)
	poll.Until(t, "a comparison to fail", func() bool { return b.Status()[0].ResyncError != "" })
	cloud.set(func(f *fakeCloud) { f.fail = nil })
	storesSoon(t, store, "1 RUNNING resync")
	poll.Until(t, "the error to go", func() bool { return b.Status()[0].ResyncError == "" })
}

func TestResyncGoesByTheClock(t *testing.T) {
	cloud, store := &fakeCloud{vms: map[int]one.VM{}}, newFakeStore()
	config := quietly("tcp://127.0.0.1:1")
	config.ResyncEvery, config.ResyncSettle = 10*time.Millisecond, 10*time.Millisecond
	b := newBridge(config, store, cloud, nil)
	startBridge(t, b)
	poll.Until(t, "a comparison", func() bool { return !b.Status()[0].LastResync.IsZero() })
	cloud.set(func(f *fakeCloud) { f.vms[1] = running(1) })
	storesSoon(t, store, "1 RUNNING resync")
}

func TestListingInPages(t *testing.T) {
	cases := map[string]struct {
		ids        []int
		page, most int
		calls      int
	}{
		"no VM":                      {page: 10, calls: 2},
		"one page":                   {ids: []int{0, 3, 9}, page: 10, calls: 3},
		"several pages":              {ids: sequence(0, 95), page: 10, calls: 12},
		"a gap":                      {ids: append(sequence(0, 10), 5000), page: 10, calls: 12},
		"a gap and many behind":      {ids: append(sequence(0, 10), sequence(5000, 5100)...), page: 10, most: 20, calls: 40},
		"pages too large":            {ids: sequence(0, 50), page: 40, most: 7, calls: 60},
		"the last ids there can be ": {ids: []int{lastID - 1, lastID}, page: 1000, most: 1, calls: 100},
	}
	for name, c := range cases {
		cloud := &fakeCloud{vms: map[int]one.VM{}, most: c.most}
		for _, id := range c.ids {
			cloud.vms[id] = running(id)
		}
		var got []int
		last, err := opennebula.NewestVM(limited(t), cloud)
		if err != nil {
			t.Fatal(err)
		}
		err = pages(limited(t), cloud, 0, last, opennebula.StateNotDone, c.page, func(vms []one.VM) error {
			for _, vm := range vms {
				got = append(got, vm.ID)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.ids) {
			t.Errorf("%s: got %v", name, got)
		}
		if len(cloud.asked) > c.calls {
			t.Errorf("%s: %d calls: %v", name, len(cloud.asked), cloud.asked)
		}
	}
}

func sequence(from, to int) []int {
	var list []int
	for id := from; id < to; id++ {
		list = append(list, id)
	}
	return list
}

// Networks are compared by their state: a service waits for READY.
func TestResyncOfNetworks(t *testing.T) {
	cloud, store := &fakeCloud{networks: map[int]one.NetworkState{1: one.NetworkReady, 2: one.NetworkReady, 3: one.NetworkError}}, newFakeStore()
	at := time.Now().Add(-time.Hour)
	store.nets = map[int]pipeline.Event{
		2: {Object: "net", ID: 2, State: "READY", Heard: at}, 3: {Object: "net", ID: 3, State: "LOCK_CREATE", Heard: at},
		4: {Object: "net", ID: 4, State: "READY", Heard: at}, 5: {Object: "net", ID: 5, State: "DONE", Heard: at},
	}
	want := []string{"net 1 READY resync", "net 3 ERROR resync", "net 4 DONE resync"}
	b, _ := comparing(t, cloud, store)
	storesSoon(t, store, want...)
	compared(t, b)
	storesSoon(t, store, want...)
}

// A VM that came and went while nobody heard is in no list of those that live. Its
// service is told all the same, by a bridge that has just started too.
func TestVMThatCameAndWentUnheard(t *testing.T) {
	ended := func(id int) one.VM { return serviceVM(id, one.VMDone, 0) }
	foreign := ended(7)
	foreign.Service = -1
	cloud, store := &fakeCloud{vms: map[int]one.VM{1: ended(1), 2: running(2), 3: ended(3)}}, newFakeStore()
	b := newBridge(quietly(), store, cloud, nil)
	must(t, b.resyncer.newComparison().run(limited(t)))
	storesSoon(t, store, "2 RUNNING resync") // what ended before anybody compared is history
	cloud.set(func(f *fakeCloud) { f.vms[4], f.vms[5], f.vms[6], f.vms[7] = ended(4), running(5), ended(6), foreign })
	for range 2 {
		b := newBridge(quietly(), store, cloud, nil)
		must(t, b.resyncer.newComparison().run(limited(t)))
		storesSoon(t, store, "2 RUNNING resync", "5 RUNNING resync", "4 DONE resync", "6 DONE resync")
	}
}

// An empty zone that was compared is none that never was.
func TestVMThatCameAndWentInAnEmptyZone(t *testing.T) {
	cloud, store := &fakeCloud{vms: map[int]one.VM{}}, newFakeStore()
	must(t, newBridge(quietly(), store, cloud, nil).resyncer.newComparison().run(limited(t)))
	cloud.set(func(f *fakeCloud) { f.vms[3] = serviceVM(3, one.VMDone, 0) })
	must(t, newBridge(quietly(), store, cloud, nil).resyncer.newComparison().run(limited(t)))
	storesSoon(t, store, "3 DONE resync")
}
