package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// fakeStore is JetStream with its failures at hand.
type fakeStore struct {
	mu sync.Mutex
	// events are what was stored, without doubles.
	events []feeds.Event
	ids    map[string]bool
	dead   []string
	// fail is what Publish, take and the index return.
	fail error
	// lostAck stores the first event of a batch and then fails, once.
	lostAck  bool
	acquired int
	attempts int
	released int
	retired  int
	// expected are the feeds with leases.
	expected []string
	// block holds Publish up until it is closed.
	block chan struct{}
	last  map[int]pipeline.Event
	nets  map[int]pipeline.Event
	// compared is the cursor.
	compared uint64
}

func (f *fakeStore) LoadCursor(context.Context, string) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.compared, f.fail
}

func (f *fakeStore) SaveCursor(_ context.Context, _ string, cursor uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.compared = cursor
	return f.fail
}

func newFakeStore() *fakeStore {
	return &fakeStore{ids: map[string]bool{}, last: map[int]pipeline.Event{}, nets: map[int]pipeline.Event{}}
}

// lastOf are the last events of a kind of object. The caller holds the lock.
func (f *fakeStore) lastOf(object string) map[int]pipeline.Event {
	switch object {
	case objectVM:
		return f.last
	case objectNet:
		return f.nets
	}
	return map[int]pipeline.Event{}
}

func (f *fakeStore) take(context.Context, string, string, uint64) (lease, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil && !errors.Is(f.fail, pipeline.ErrSuperseded) {
		return nil, f.fail
	}
	f.acquired++
	return fakeLease{f}, nil
}

func (f *fakeStore) LastLease(context.Context, string) (pipeline.Lease, uint64, error) {
	return pipeline.Lease{}, 0, nil
}

func (f *fakeStore) Expected(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expected, f.fail
}

func (f *fakeStore) watch(string) (watch, error) { return fakeWatch{}, nil }

// fakeWatch hears nobody.
type fakeWatch struct{}

func (fakeWatch) Changed() <-chan struct{} { return nil }
func (fakeWatch) Last() pipeline.FeedBeat  { return pipeline.FeedBeat{} }
func (fakeWatch) Silence() time.Duration   { return time.Hour }
func (fakeWatch) Close()                   {}

type fakeLease struct{ *fakeStore }

func (l fakeLease) Stage(events []feeds.Event) func(context.Context) error {
	return func(ctx context.Context) error { return l.Publish(ctx, events) }
}

func (fakeLease) Beat(bool, bool) error { return nil }
func (fakeLease) Sequence() uint64      { return 1 }
func (fakeLease) Token() string         { return "" }
func (l fakeLease) Release(context.Context) error {
	l.set(func(f *fakeStore) { f.released++ })
	return nil
}

func (l fakeLease) Retire(context.Context) error {
	l.set(func(f *fakeStore) { f.retired++ })
	return nil
}

func (l fakeLease) Tail(context.Context, int) ([]feeds.StoredEvent, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var tail []feeds.StoredEvent
	for i, event := range l.events {
		hash, _, _ := strings.Cut(event.MessageID, "-")
		tail = append(tail, feeds.StoredEvent{Sequence: uint64(i + 1), Hash: hash, Heard: event.Event.Heard})
	}
	return tail, nil
}

// fakeIndex reads the store's last events.
type fakeIndex struct {
	store  *fakeStore
	object string
	last   map[int]pipeline.Event
}

func (f *fakeStore) index(object string) index { return &fakeIndex{store: f, object: object} }

func (x *fakeIndex) CatchUp(context.Context) error {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	x.last = map[int]pipeline.Event{}
	for id, event := range x.store.lastOf(x.object) {
		x.last[id] = event
	}
	return x.store.fail
}

func (x *fakeIndex) Forget() {}

func (x *fakeIndex) Of(id int) (feeds.StoredObject, bool) {
	event, known := x.last[id]
	return feeds.StoredObject{Sequence: uint64(id), Heard: event.Heard, Done: event.State == "DONE"}, known
}

func (x *fakeIndex) Same(stored feeds.StoredObject, event pipeline.Event) bool {
	last := x.last[int(stored.Sequence)]
	if last.VM == nil || event.VM == nil {
		return last.VM == event.VM && last.State == event.State
	}
	return *last.VM == *event.VM
}

func (x *fakeIndex) All(visit func(int, feeds.StoredObject)) {
	for id := range x.last {
		stored, _ := x.Of(id)
		visit(id, stored)
	}
}

func (x *fakeIndex) Event(_ context.Context, vm int) (pipeline.Event, bool, error) {
	event, known := x.last[vm]
	return event, known, nil
}

func (f *fakeStore) PublishFound(_ context.Context, found []feeds.FoundEvent) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return 0, f.fail
	}
	for _, one := range found {
		f.events = append(f.events, one.Event)
		event := one.Event.Event
		f.lastOf(event.Object)[event.ID] = event
	}
	return len(found), nil
}

func (f *fakeStore) Publish(ctx context.Context, events []feeds.Event) error {
	f.mu.Lock()
	f.attempts++
	block := f.block
	f.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lostAck {
		f.lostAck = false
		f.keep(events[:1])
		return errors.New("the ack was lost")
	}
	if f.fail != nil {
		return f.fail
	}
	f.keep(events)
	return nil
}

func (f *fakeStore) keep(events []feeds.Event) {
	for _, event := range events {
		if f.ids[event.MessageID] {
			continue
		}
		f.ids[event.MessageID] = true
		if err := json.Unmarshal(event.Data, &event.Event); err != nil {
			panic(err)
		}
		f.events = append(f.events, event)
		f.lastOf(event.Event.Object)[event.Event.ID] = event.Event
	}
}

func (f *fakeStore) DeadLetter(_ context.Context, letter pipeline.DeadLetter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = append(f.dead, letter.Reason)
	return nil
}

func (f *fakeStore) set(change func(*fakeStore)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeStore) attempted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.attempts
}

// stored describes what is stored: "7 RUNNING", "7 RUNNING resync".
func (f *fakeStore) stored() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, event := range f.events {
		text := fmt.Sprintf("%d %s", event.Event.ID, event.Event.LCMState)
		if event.Event.Object == objectNet {
			text = fmt.Sprintf("net %d %s", event.Event.ID, event.Event.State)
		} else if event.Event.State == "DONE" {
			text = fmt.Sprintf("%d DONE", event.Event.ID)
		}
		if event.Event.Resync {
			text += " resync"
		}
		list = append(list, text)
	}
	return list
}

// fakeCloud is oned with a set of VMs.
type fakeCloud struct {
	mu    sync.Mutex
	vms   map[int]one.VM
	fail  error
	most  int // VMs in one answer; 0 for any number
	asked [][2]int
	// listing is called while a list is made, before it is answered.
	listing  func()
	hidden   map[int]bool
	networks map[int]one.NetworkState
}

func (f *fakeCloud) Networks(context.Context, int) ([]opennebula.Network, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []opennebula.Network
	for _, id := range slices.Sorted(maps.Keys(f.networks)) {
		found = append(found, opennebula.Network{ID: id, State: f.networks[id]})
	}
	return found, f.fail
}

func (f *fakeCloud) Network(_ context.Context, id int) (opennebula.Network, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state, found := f.networks[id]; found {
		return opennebula.Network{ID: id, State: state}, f.fail
	}
	return opennebula.Network{}, &opennebula.Error{Method: "one.vn.info", Code: opennebula.CodeNoExists}
}

// newestTwo is the end that asks for a page of the newest two.
const newestTwo = -2

func (f *fakeCloud) VMs(_ context.Context, _, start, end, state int) ([]one.VM, error) {
	f.mu.Lock()
	f.asked = append(f.asked, [2]int{start, end})
	var found []one.VM
	for id, vm := range f.vms {
		if id >= start && (end < 0 || id <= end) && listed(vm, state) && !f.hidden[id] {
			found = append(found, vm)
		}
	}
	most, fail, listing := f.most, f.fail, f.listing
	slices.SortFunc(found, func(a, b one.VM) int { return b.ID - a.ID })
	if end == newestTwo {
		found, most, listing = found[:min(2, len(found))], 0, nil
	} else {
		f.listing = nil
		slices.Reverse(found)
	}
	f.mu.Unlock()
	if listing != nil {
		listing()
	}
	if most > 0 && len(found) > most {
		return nil, &opennebula.TransportError{Method: "one.vmpool.infoextended", Sent: true, Err: opennebula.ErrTooLarge}
	}
	return found, fail
}

// listed reports whether a VM is in a list of those in a state.
func listed(vm one.VM, state int) bool {
	switch state {
	case opennebula.StateAny:
		return true
	case opennebula.StateNotDone:
		return !vm.Gone()
	}
	return int(vm.State) == state
}

func (f *fakeCloud) VM(_ context.Context, id int) (one.VM, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hidden[id] {
		return one.VM{}, &opennebula.Error{Method: "one.vm.info", Code: opennebula.CodeAuthorization}
	}
	vm, found := f.vms[id]
	if !found {
		return one.VM{}, &opennebula.Error{Method: "one.vm.info", Code: opennebula.CodeNoExists}
	}
	return vm, f.fail
}

func (f *fakeCloud) set(change func(*fakeCloud)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func serviceVM(id int, state one.VMState, lcmState one.LCMState) one.VM {
	return one.VM{ID: id, Name: fmt.Sprint("vm", id), State: state, LCMState: lcmState, Service: 42, Role: "web"}
}
