package work

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

// limitMessages has a stream refuse messages of more bytes; -1 is no limit.
func limitMessages(t *testing.T, p clients, stream string, size int32) {
	t.Helper()
	info, err := p.Client.Stream(stream).Info(limited(t))
	must(t, err)
	info.Config.MaxMsgSize = size
	_, err = p.JetStream().UpdateStream(limited(t), info.Config)
	must(t, err)
}

// refusedHere is longer than limitMessages allows in these tests.
var refusedHere = strings.Repeat("x", 2000)

func wakesOf(service int, reasons ...string) []pipeline.Wake {
	wakes := make([]pipeline.Wake, len(reasons))
	for i, reason := range reasons {
		wakes[i] = pipeline.Wake{Work: pipeline.Work{Service: service, Reason: reason}, MessageID: fmt.Sprintf("%d-%d-%d", service, i, len(reason))}
	}
	return wakes
}

// reasons are those of a service's wake-ups, in the order in which they are stored.
func reasons(t *testing.T, p clients, service int) []string {
	t.Helper()
	var found []string
	must(t, p.Client.Stream(pipeline.StreamWork).Each(limited(t), pipeline.PartitionSubjects(pipeline.Partition(service)), 0, func(message js.Message) {
		work, err := pipeline.DecodeWork(message.Data, pipeline.Version)
		must(t, err)
		if work.Service == service {
			found = append(found, work.Reason)
		}
	}))
	return found
}

// A wake-up that is refused in the middle of others fails them all; and once it is
// taken, those behind it are stored behind it, though they were stored before.
func TestAWakeThatIsRefusedInTheMiddle(t *testing.T) {
	p := single(t)
	limitMessages(t, p, pipeline.StreamWork, 1000)
	wakes := wakesOf(42, "first", refusedHere, "third", "fourth")
	if err := p.PublishWakes(limited(t), wakes, nil); err == nil {
		t.Fatal("a refused wake-up counts as stored")
	}
	limitMessages(t, p, pipeline.StreamWork, -1)
	must(t, p.PublishWakes(limited(t), wakes, nil))
	found := reasons(t, p, 42)
	if len(found) < 4 || found[0] != "first" {
		t.Fatalf("stored are %.20q", found)
	}
	for i, want := range []string{refusedHere, "third", "fourth"} {
		if got := found[len(found)-3+i]; got != want {
			t.Errorf("the last three stored are %.20q", found[len(found)-3:])
			break
		}
	}
	before := len(found)
	must(t, p.PublishWakes(limited(t), wakes[:1], nil))
	if now := len(reasons(t, p, 42)); now != before {
		t.Errorf("a wake-up with a known id was stored again: %d, %d", before, now)
	}
}

// However a connection breaks while a few wake-ups are on their way, each is stored
// behind those in front of it.
func TestAConnectionLostBetweenAFewWakes(t *testing.T) {
	server := natstest.Server(t)
	c := pipetest.NewCutter(t, server)
	p, ctx := open(t, c.URL()), limited(t)
	const rounds = 25
	for round := range rounds {
		c.CutSomewhere(800)
		for {
			if err := p.PublishWakes(ctx, wakesOf(round, "1", "22", "333", "4444", "55555", "666666"), nil); err == nil {
				break
			}
			must(t, context.Cause(ctx))
		}
	}
	c.Mend()
	direct := open(t, server)
	for service := range rounds {
		found := reasons(t, direct, service)
		if found[len(found)-1] != "666666" || !holdsInOrder(found, "1", "22", "333", "4444", "55555", "666666") {
			t.Errorf("service %d was woken by %q", service, found)
		}
	}
}

// holdsInOrder reports whether the wanted are among the found in that order.
func holdsInOrder(found []string, wanted ...string) bool {
	for _, one := range found {
		if len(wanted) > 0 && one == wanted[0] {
			wanted = wanted[1:]
		}
	}
	return len(wanted) == 0
}
