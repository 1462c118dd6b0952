package presence

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

func TestProcessesHearOfEachOther(t *testing.T) {
	url := natstest.Server(t)
	announce := func(id string) *Presence {
		presence, err := Announce(open(t, url).Pipeline, func() pipeline.Process {
			return pipeline.Process{ID: id, Calling: id != "idle", Servers: []string{"http://" + id}}
		})
		must(t, err)
		t.Cleanup(func() { presence.Leave(limited(t)) })
		return presence
	}
	a, b := announce("a"), announce("b")
	announce("idle")
	poll.Until(t, "a to hear of the others", func() bool { return len(a.Others()) == 2 && len(b.Others()) == 2 })
	if first := a.Others()[0]; first.ID != "b" || !first.Calling || first.Servers[0] != "http://b" {
		t.Errorf("a heard %+v", first)
	}
	if a.Others()[1].Calling {
		t.Error("the idle one counts as calling")
	}
	b.Leave(context.Background())
	poll.Until(t, "a to hear that b left", func() bool { return len(a.Others()) == 1 })
}

// TestConnectionsAreSharedOut: never more than there are, and nobody is left without
// for longer than it takes all to have a turn.
func TestConnectionsAreSharedOut(t *testing.T) {
	for connections := 1; connections <= 15; connections++ {
		for count := 1; count <= 20; count++ {
			var all []pipeline.Process
			for i := range count {
				all = append(all, pipeline.Process{ID: fmt.Sprint("process", i), Calling: true})
			}
			had := map[string]int{}
			for second := range int64(count) {
				total := 0
				for i, one := range all {
					others := append(append([]pipeline.Process{{ID: "idle"}}, all[:i]...), all[i+1:]...)
					share := ShareConnections(connections, one.ID, others, time.Unix(1_800_000_000/int64(count)*int64(count)+second, 0))
					total += share
					had[one.ID] += share
				}
				if total > connections || total < min(connections, count) {
					t.Fatalf("%d processes share %d connections and use %d", count, connections, total)
				}
			}
			for id, times := range had {
				if times == 0 || count > connections && times != connections {
					t.Fatalf("%s of %d processes had %d turns at %d connections in %d seconds", id, count, times, connections, count)
				}
			}
		}
	}
}
