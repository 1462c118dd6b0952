package bridge

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
)

func TestFilter(t *testing.T) {
	cases := []struct {
		name   string
		events []string
		key    string
		passes bool
	}{
		{"a VM", servicesNeed, "EVENT STATE VM/ACTIVE/BOOT/1 ", true},
		{"a host", servicesNeed, "EVENT STATE HOST/ERROR//1 ", true},
		{"a call that services need", servicesNeed, "EVENT API one.vm.update 1", true},
		{"any other call", servicesNeed, "EVENT API one.user.passwd 1", false},
		{"an object left out", []string{"vm"}, "EVENT STATE NET/READY//1 ", false},
		{"no object at all", nil, "EVENT STATE VM/ACTIVE/RUNNING/1 ", false},
		{"a state that is named", []string{"vm/done", "vm/ACTIVE/RUNNING"}, "EVENT STATE VM/ACTIVE/RUNNING/1 ", true},
		{"a state named without its LCM state", []string{"vm/DONE"}, "EVENT STATE VM/DONE/LCM_INIT/1 ", true},
		{"a state that is not named", []string{"vm/DONE"}, "EVENT STATE VM/ACTIVE/BOOT/1 ", false},
		{"an object without named states", []string{"vm/DONE", "net"}, "EVENT STATE NET/READY//1 ", true},
		{"a state that is not named, of an object that is", []string{"vm/DONE", "vm"}, "EVENT STATE VM/ACTIVE/BOOT/1 ", true},
		{"a call that is named", []string{"one.vm.chown"}, "EVENT API one.vm.chown 0", true},
		{"a call about an object of which all pass", []string{"one.document.*"}, "EVENT API one.document.chmod 1", true},
		{"a call about another one", []string{"one.document.*"}, "EVENT API one.documentpool.info 1", false},
		{"READY among all calls about VMs", []string{"one.vm.*"}, "EVENT API one.vm.update 1", true},
		{"READY when another call is named", []string{"one.vm.chown"}, "EVENT API one.vm.update 1", false},
	}
	for _, c := range cases {
		f, err := newFilter(c.events)
		must(t, err)
		key, err := opennebula.ParseKey(c.key)
		must(t, err)
		if f.passes(key) != c.passes {
			t.Errorf("%s: %q passes: %v", c.name, c.key, !c.passes)
		}
	}
}

func TestFilterThatCannotBe(t *testing.T) {
	for event, want := range map[string]string{
		"vms":            "one of vm, net, host, image",
		"vms/DONE":       "one of vm, net, host, image",
		"vm.update":      "one of vm, net, host, image",
		"one.vm":         "has the form one.vm.update",
		"one.vm .update": "has the form one.vm.update",
		"vm/":            "the form vm/DONE",
	} {
		err := newBridge(Config{Endpoints: []string{"tcp://127.0.0.1:1"}, Events: []string{"net", event}}, newFakeStore(), nil, nil).Start(limited(t))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", event, err)
		}
	}
}

// A state that is filtered out is not let in by a comparison either.
func TestComparisonsAreFilteredToo(t *testing.T) {
	cloud, store := &fakeCloud{vms: map[int]one.VM{1: booting(1), 2: running(2)}}, newFakeStore()
	config := quietly("tcp://127.0.0.1:1")
	config.Events = []string{"vm/ACTIVE/RUNNING"}
	b := newBridge(config, store, cloud, nil)
	startBridge(t, b)
	poll.Until(t, "a comparison", func() bool { return !b.Status()[0].LastResync.IsZero() })
	storesSoon(t, store, "2 RUNNING resync")
}

// TestNoCallIsMissedUnnoticed: what a call has changed that was dropped, or could not be read, is not known.
func TestNoCallIsMissedUnnoticed(t *testing.T) {
	for name, missed := range map[string]FeedStatus{"a gap": {Gaps: 1}, "a dropped event": {Dropped: 1}, "a dead letter": {DeadLetters: 1}} {
		if missed.unbroken() == (FeedStatus{}).unbroken() {
			t.Errorf("%s is not noticed", name)
		}
	}
}
