package restapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kolo/xmlrpc"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// heardWorld is a whole world whose bridge hears everything that changes lists.
type heardWorld struct {
	*world
	// lists and documents count what users have read at oned; the worker lists as itself.
	lists, documents atomic.Int64
}

func newHeardWorld(t *testing.T, config Config, bridged ...string) *heardWorld {
	w := &heardWorld{world: newWorld(t, config)}
	if len(bridged) > 0 {
		w.bridged = bridged
	}
	w.whole()
	w.rpc("one.user.allocate", admin, "bob", "bob")
	poll.Until(t, "the bridge to hear", w.bridge.Load().Hears)
	w.sim.OnCall(func(call sim.Call) {
		switch {
		case call.User != "alice" && call.User != "bob":
		case call.Method == "one.documentpool.info":
			w.lists.Add(1)
		case call.Method == "one.document.info":
			w.documents.Add(1)
		}
	})
	return w
}

// fill makes documents, and returns their ids.
func (w *world) fill(user string, documentType, count int) (ids []int) {
	w.t.Helper()
	for i := range count {
		id, err := w.oned.For(user).AllocateDocument(w.t.Context(), documentType, fmt.Sprintf("d-%d", i), []byte(`{"name":"x","state":2,"roles":[]}`))
		w.must(err)
		ids = append(ids, id)
	}
	return ids
}

// settled waits until a list is answered without oned: all events of what was done have come.
func (w *heardWorld) settled(user, path string) {
	w.t.Helper()
	poll.Until(w.t, "oned not to be asked", func() bool {
		before := w.lists.Load() + w.documents.Load()
		w.expect(user, "GET", path, "", 200, "")
		return w.lists.Load()+w.documents.Load() == before
	})
}

// TestListsAreAnsweredWithoutOned as long as nothing changes, and with little of it when one
// document does.
func TestListsAreAnsweredWithoutOned(t *testing.T) {
	w := newHeardWorld(t, Config{})
	services, templates := w.fill("alice", spec.DocumentTypeService, 20), w.fill("alice", spec.DocumentTypeServiceTemplate, 20)
	for path, ids := range map[string][]int{"/service": services, "/service_template": templates} {
		began := time.Now()
		w.settled(alice, path)
		w.settled("bob:bob", path)
		lists := w.lists.Load()
		shows := func(user, part string, want bool) {
			t.Helper()
			if got := w.expect(user, "GET", path, "", 200, "").body; strings.Contains(got, part) != want {
				t.Errorf("%s of %s: %q is shown: %v", path, user, part, !want)
			}
		}
		of := func(i int) string { return path + "/" + strconv.Itoa(ids[i]) }
		// What this API does is there at once.
		w.expect(alice, "POST", of(3)+"/action", perform("rename", `{"name":"renamed"}`), 204, "")
		shows(alice, `"NAME": "renamed"`, true)
		shows("bob:bob", `"NAME": "renamed"`, false)
		w.expect(alice, "POST", of(3)+"/action", perform("chmod", `{"octet":"604"}`), 204, "")
		shows("bob:bob", `"NAME": "renamed"`, true)
		// What others do is there when its event is.
		w.must(w.oned.For("alice").RenameDocument(t.Context(), ids[4], "elsewhere"))
		poll.Until(t, "the other name", func() bool {
			return strings.Contains(w.call(alice, "GET", path, "").body, `"NAME": "elsewhere"`)
		})
		w.must(w.oned.For("alice").DeleteDocument(t.Context(), ids[5]))
		poll.Until(t, "it to be gone", func() bool {
			return !strings.Contains(w.call(alice, "GET", path, "").body, fmt.Sprintf(`"ID": "%d"`, ids[5]))
		})
		clone := w.rpc("one.document.clone", alice, ids[6], "cloned")
		poll.Until(t, "the clone", func() bool {
			return strings.Contains(w.call(alice, "GET", path, "").body, fmt.Sprintf(`"ID": "%d"`, clone))
		})
		// On a machine that is too slow for the list's life it is read once more.
		if asked := w.lists.Load() - lists; asked != 1 && time.Since(began) < listLife {
			t.Errorf("%s: oned was asked for %d lists, want bob's first", path, asked)
		}
		w.settled(alice, path)
		var kept, now any // the attributes of a service that a worker has taken up meanwhile are in another order
		w.must(json.Unmarshal([]byte(w.expect(alice, "GET", path, "", 200, "").body), &kept))
		w.must(json.Unmarshal([]byte(w.call(alice, "GET", path, "", "Cache-Control", "no-cache").body), &now))
		if !reflect.DeepEqual(now, kept) {
			t.Errorf("%s is kept as\n%s\nand now\n%s", path, kept, now)
		}
	}
}

// TestServicesInKeptListsAreNeverBehindTheirRecords: whoever was told of a change finds it in
// the list, whatever has become of its event.
func TestServicesInKeptListsAreNeverBehindTheirRecords(t *testing.T) {
	w := newHeardWorld(t, Config{HearingCalls: func() string { return "a bridge whose events are still on their way" }}, "vm", "net", "one.vm.update")
	w.fill("alice", spec.DocumentTypeService, 3)
	service := w.service(alice)
	poll.Until(t, "the service to run", func() bool { return stateIn(w.call(alice, "GET", service, "").body) == spec.ServiceRunning })
	w.settled(alice, "/service")
	lists := w.lists.Load()
	for i := range 5 {
		w.expect(alice, "PUT", service, fmt.Sprintf(`{"append":true,"template":{"description":"the %d."}}`, i), 204, "")
		w.expect(alice, "GET", "/service", "", 200, fmt.Sprintf(`"description": "the %d."`, i))
	}
	w.expect(alice, "DELETE", service, "", 204, "")
	poll.Until(t, "the service to be listed no more", func() bool {
		return strings.Count(w.expect(alice, "GET", "/service", "", 200, "").body, `"TYPE": "100"`) == 3
	})
	if asked := w.lists.Load() - lists; asked > 0 {
		t.Errorf("oned was asked for %d lists", asked)
	}
}

// TestRightsEndAtOnce: what decides who may see what changes all lists.
func TestRightsEndAtOnce(t *testing.T) {
	w := newHeardWorld(t, Config{})
	shared := w.fill("alice", spec.DocumentTypeServiceTemplate, 3)
	bob := "bob:bob"
	sees := func(want int) {
		t.Helper()
		poll.Until(t, fmt.Sprintf("bob to see %d", want), func() bool {
			return strings.Count(w.call(bob, "GET", "/service_template", "").body, `"TYPE": "101"`) == want
		})
		w.settled(bob, "/service_template")
	}
	session := w.oned.For("alice")
	sees(0)
	for i, id := range shared {
		w.must(session.ChmodDocument(t.Context(), id, "604"))
		sees(i + 1)
	}
	lists := w.lists.Load()
	w.must(session.ChmodDocument(t.Context(), shared[1], "600"))
	sees(2)
	w.must(w.oned.Server().ChownDocument(t.Context(), shared[2], w.userID("bob"), -1))
	w.must(w.oned.For("bob").ChmodDocument(t.Context(), shared[2], "600"))
	sees(2)
	if asked := w.lists.Load() - lists; asked != 1 {
		t.Errorf("oned was asked for %d lists; one is to make sure that what was shown is to be shown no more", asked)
	}
	w.rpc("one.user.chgrp", admin, w.userID("bob"), 0)
	sees(3)
}

// rpc makes a call for which the client has no method, and returns what it answers.
func (w *world) rpc(method string, arguments ...any) any {
	w.t.Helper()
	rpc, err := xmlrpc.NewClient(w.sim.Endpoint(), nil)
	w.must(err)
	defer func() { w.must(rpc.Close()) }()
	var answer []any
	w.must(rpc.Call(method, arguments, &answer))
	if answer[0] != true {
		w.t.Fatalf("%s is refused: %v", method, answer)
	}
	return answer[1]
}

// TestListsAreNotKeptUnheard: without a bridge that hears everything oned is asked each time,
// and behind a gap once.
func TestListsAreNotKeptUnheard(t *testing.T) {
	heard := ""
	w := newWorld(t, Config{HearingCalls: func() string { return heard }})
	w.fill("alice", spec.DocumentTypeService, 3)
	for _, step := range []struct {
		heard string
		asked int
	}{{"", 2}, {"feed 1", 1}, {"feed 2", 1}, {"", 2}} {
		heard = step.heard
		lists := w.sim.CallCounts()["one.documentpool.info"]
		for range 2 {
			w.expect(alice, "GET", "/service", "", 200, "")
		}
		if asked := w.sim.CallCounts()["one.documentpool.info"] - lists; asked != step.asked {
			t.Errorf("hearing %q, oned was asked for %d lists, want %d", step.heard, asked, step.asked)
		}
	}
}

func TestWritesAreRememberedForAWhile(t *testing.T) {
	var w writes
	for i := range mostWrites + 1 {
		w.add(i)
	}
	if ids, known := w.since(mostWrites - 1); !known || !slices.Equal(ids, []int{mostWrites - 1, mostWrites}) || w.position() != mostWrites+1 {
		t.Errorf("got %v, %v, at %d", ids, known, w.position())
	}
	if _, known := w.since(mostWrites/2 - 1); known {
		t.Error("what was forgotten is known")
	}
}

func TestNewDocumentsAreListedWhereOnedListsThem(t *testing.T) {
	of := func(ids ...int) (documents []opennebula.Document) {
		for _, id := range ids {
			documents = append(documents, opennebula.Document{ID: id})
		}
		return documents
	}
	for _, c := range []struct {
		ids      []int
		id, want int
	}{{[]int{1, 3}, 5, 2}, {[]int{1, 3}, 2, 1}, {[]int{3, 1}, 5, 0}, {[]int{3, 1}, 2, 1}, {[]int{3, 1}, 0, 2}} {
		if at := indexOf(of(c.ids...), c.id); at != c.want {
			t.Errorf("%d in %v: at %d, want %d", c.id, c.ids, at, c.want)
		}
	}
}

// TestListsAreCountedAsTheyGrow by what was made since oned listed them.
func TestListsAreCountedAsTheyGrow(t *testing.T) {
	w := newHeardWorld(t, Config{})
	w.fill("alice", spec.DocumentTypeServiceTemplate, 3)
	oned := oned{w.oned}
	l := &lists{oned: oned, queue: w.api.queue, hearing: func() string { return "all" }, kept: map[listKey]*list{}}
	key := listKey{"alice", spec.DocumentTypeServiceTemplate}
	for range 2 {
		documents, _, err := l.documents(t.Context(), key)
		w.must(err)
		if want := sizeOfAll(documents); l.kept[key].size != want {
			t.Errorf("%d bytes are counted of %d", l.kept[key].size, want)
		}
		_, err = oned.as("alice", opennebula.Guard{Wrote: l.own.add}).AllocateDocument(t.Context(), spec.DocumentTypeServiceTemplate, "grown", []byte(strings.Repeat(" ", 10_000)))
		w.must(err)
	}
}

// TestListsTakeNoMoreThanTheirRoom in all, whatever is asked for.
func TestListsTakeNoMoreThanTheirRoom(t *testing.T) {
	l := &lists{oned: nil, queue: nil, hearing: nil, kept: map[listKey]*list{}}
	for i := range 10 {
		key := listKey{strconv.Itoa(i), 100}
		if !l.admit(key, l.of(key), maxKeptBytes/4) || l.kept[key].size != maxKeptBytes/4 || len(l.kept) > 4 {
			t.Fatalf("%d lists are kept", len(l.kept))
		}
	}
	key := listKey{"large", 100}
	if l.admit(key, l.of(key), maxKeptBytes+1) || l.kept[key] != nil {
		t.Error("a list is kept for which there is no room")
	}
	if l.admit(key, l.of(key), 10); l.kept[key].size != 10 {
		t.Error("a smaller one is not kept")
	}
}

func TestAMemoGivesBackOnlyWhatIsTheSame(t *testing.T) {
	made := 0
	m := memo[int]{make: func(opennebula.Document) int { made++; return made }, size: func(opennebula.Document, int) int { return maxMemoBytes / 5 }}
	one := opennebula.Document{ID: 1, Name: "a", Body: []byte("{}")}
	other := one
	other.Body = []byte("[]")
	for i, want := range []int{1, 1, 2, 2, 3} {
		if got := m.of([]opennebula.Document{one, one, other, other, one}[i]); got != want {
			t.Errorf("%d: got %d, want %d", i, got, want)
		}
	}
	for id := 2; id < 20; id++ {
		m.of(opennebula.Document{ID: id})
		m.of(one) // wanted all the time
	}
	if m.of(one) != 3 || len(m.made)+len(m.former) > 10 {
		t.Errorf("%d are kept", len(m.made)+len(m.former))
	}
}
