package presence

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

// followed is a follower that began a minute ago, on a server of its own that expects fe1 and fe2.
func followed(t *testing.T) (*natstest.Node, *pipeline.Pipeline, *Follower) {
	t.Helper()
	node := natstest.NewNode(t)
	p := open(t, node.URL()).Pipeline
	members, _ := merge(nil, []pipeline.Process{process("fe1", "worker"), process("fe2", "worker")}, time.Now())
	must(t, save(limited(t), p, members, 0))
	// Both are of before: what follows is not about a beginning.
	poll.Until(t, "a connection of some age", func() bool { return time.Since(p.State().Since) >= MissingAfter })
	f, err := Follow(p)
	must(t, err)
	t.Cleanup(f.Stop)
	f.since = time.Now().Add(-time.Minute)
	return node, p, f
}

// now are the members' names as the follower has them.
func (f *Follower) now(t *testing.T) string {
	t.Helper()
	members, err := f.Members(limited(t))
	must(t, err)
	return names(members)
}

// announced has a process announce itself until it is left.
func announced(t *testing.T, url string, self pipeline.Process) *Presence {
	t.Helper()
	self.ID = self.Name + " 1"
	p, err := Announce(open(t, url).Pipeline, func() pipeline.Process { return self })
	must(t, err)
	t.Cleanup(func() { p.Leave(limited(t)) })
	return p
}

// After NATS was away nobody can have been heard yet: that alarms nobody, and what is kept does
// not change.
func TestAReconnectIsNoAlarm(t *testing.T) {
	t.Parallel()
	node, p, f := followed(t)
	if got := f.now(t); got != "fe1 worker! fe2 worker! " {
		t.Fatalf("those that are silent are %s", got)
	}
	node.Stop()
	poll.Until(t, "the connection to break", func() bool { return !p.State().Connected })
	node.Start()
	poll.Until(t, "the connection to stand", func() bool { return p.State().Connected })
	if got := f.now(t); got != "fe1 worker fe2 worker " {
		t.Errorf("right after the connection stands again, %s", got)
	}
	poll.Until(t, "those that stay silent to be missing", func() bool { return f.now(t) == "fe1 worker! fe2 worker! " })
}

// A follower that begins has heard nobody, and says what is kept until it could have.
func TestABeginningIsNoAlarm(t *testing.T) {
	t.Parallel()
	_, _, f := followed(t)
	f.since = time.Now()
	if got := f.now(t); got != "fe1 worker fe2 worker " {
		t.Errorf("at the beginning, %s", got)
	}
}

// A process is heard by its beats, and one that leaves is missing at once.
func TestProcessesAreHeardAndLeave(t *testing.T) {
	t.Parallel()
	node, p, f := followed(t)
	for _, text := range []string{"", "no JSON", "{}", `{"process":""}`, `[1]`} { // of nobody
		must(t, p.Conn().Publish(pipeline.ProcessSubject("x"), []byte(text)))
	}
	one := announced(t, node.URL(), process("fe1", "worker"))
	fresh := process("fe3", "api")
	announced(t, node.URL(), fresh)
	poll.Until(t, "fe1 and fe3 to be heard", func() bool { return f.now(t) == "fe1 worker fe2 worker! fe3 api " })
	if live := f.Live(); len(live) != 2 {
		t.Errorf("there live %+v", live)
	}
	one.Leave(limited(t))
	poll.Until(t, "fe1 to be missing", func() bool { return f.now(t) == "fe1 worker! fe2 worker! fe3 api " })
}

// Only the process whose turn it is keeps the members: the others would write over it.
func TestTheMembersAreKeptByOne(t *testing.T) {
	t.Parallel()
	node, p, f := followed(t)
	announced(t, node.URL(), process("fe1", "worker"))
	poll.Until(t, "fe1 to be heard", func() bool { return len(f.Live()) == 1 })
	var mine atomic.Bool
	var asked atomic.Int32
	ctx, stop := context.WithCancel(limited(t))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.Keep(ctx, func() bool { asked.Add(1); return mine.Load() })
	}()
	kept := func() string {
		members, err := Members(limited(t), p)
		must(t, err)
		return names(members)
	}
	poll.Until(t, "it to be asked whose turn it is", func() bool { return asked.Load() >= 2 })
	if got := kept(); got != "fe1 worker fe2 worker " {
		t.Errorf("who is not to keep them keeps %s", got)
	}
	mine.Store(true)
	poll.Until(t, "fe2 to be kept as missing", func() bool { return kept() == "fe1 worker fe2 worker! " })
	stop()
	<-ended
}

// A process that is started again with another version is the same member.
func TestAnUpgradeIsNoNewMember(t *testing.T) {
	now := time.Now()
	old := process("fe1", "worker", "api")
	members, _ := merge(nil, []pipeline.Process{old}, now)
	upgraded := old
	upgraded.Release = "2"
	members, changed := merge(members, []pipeline.Process{upgraded}, now)
	if !changed || len(members) != 1 || members[0].Release != "2" || !members[0].Missing.IsZero() {
		t.Errorf("after an upgrade there are %+v", members)
	}
	moved := upgraded
	moved.Parts = []string{"worker"}
	if members, changed = merge(members, []pipeline.Process{moved}, now); !changed || len(members) != 1 || len(members[0].Parts) != 1 {
		t.Errorf("with fewer parts there are %+v", members)
	}
}

// What announces itself under ever new names does not fill the record of members.
func TestMembersAreBounded(t *testing.T) {
	now := time.Now()
	var live []pipeline.Process
	for i := range maxMembers + 50 {
		live = append(live, process("fe"+string(rune('a'+i%26))+string(rune('a'+i/26)), "worker"))
	}
	members, _ := merge(nil, live, now)
	if len(members) != maxMembers {
		t.Errorf("%d members are kept", len(members))
	}
	if again, changed := merge(members, live, now); changed || len(again) != maxMembers {
		t.Errorf("with more than fit each look changes something: %d, %v", len(again), changed)
	}
	if later, _ := merge(members, nil, now.Add(time.Minute)); len(later) != maxMembers || later[0].Missing.IsZero() {
		t.Error("those that are gone are not missing")
	}
}

// Somebody else's change while a member is forgotten is kept.
func TestForgettingBesideAnother(t *testing.T) {
	t.Parallel()
	p, ctx := pipetest.Single(t), pipetest.Limited(t)
	members, _ := merge(nil, []pipeline.Process{process("fe1", "api"), process("fe2", "api"), process("fe3", "api")}, time.Now())
	must(t, save(ctx, p, members, 0))
	done := make(chan error, 2)
	for _, name := range []string{"fe1 api", "fe2 api"} {
		go func() { done <- Forget(ctx, p, name) }()
	}
	must(t, <-done)
	must(t, <-done)
	if left, err := Members(ctx, p); err != nil || names(left) != "fe3 api " {
		t.Errorf("left are %s, %v", names(left), err)
	}
	// What cannot be read is written anew, and forgets nobody by mistake.
	must(t, p.Client.Bucket(pipeline.BucketCheckpoint).Put(ctx, pipeline.MembersKey, []byte("no JSON")))
	if left, err := Members(ctx, p); err != nil || len(left) > 0 {
		t.Errorf("of what cannot be read there are %v, %v", left, err)
	}
}
