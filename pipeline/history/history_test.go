package history

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

func TestTransitionsAreReadInOrderFromAnywhere(t *testing.T) {
	p, ctx := single(t), limited(t)
	last, err := p.LastTransitionSequence(ctx)
	must(t, err)
	if last != 0 {
		t.Errorf("the empty stream ends at %d", last)
	}
	for _, service := range []int{1, 2, 1} {
		change := flow.Change{Kind: "service", New: "RUNNING"}
		must(t, p.PublishTransitions(ctx, []pipeline.Transition{{Service: service, Change: change, Time: time.Now()}}, last+1))
		last, err = p.LastTransitionSequence(ctx)
		must(t, err)
	}
	_, err = p.JetStream().Publish(ctx, "flow.event.1.service.X", []byte("not JSON"))
	must(t, err)
	for _, test := range []struct {
		service int
		after   uint64
		want    []uint64
	}{{-1, 0, []uint64{1, 2, 3}}, {1, 0, []uint64{1, 3}}, {-1, 2, []uint64{3}}, {2, 0, []uint64{2}}} {
		reader, err := p.ReadTransitions(ctx, test.service, test.after)
		must(t, err)
		for _, want := range test.want {
			sequence, transition, err := reader.Next(ctx)
			must(t, err)
			if sequence != want || test.service >= 0 && transition.Service != test.service {
				t.Errorf("service %d after %d: got %d of service %d, want %d", test.service, test.after, sequence, transition.Service, want)
			}
		}
		waiting, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		if _, _, err := reader.Next(waiting); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("there is more: %v", err)
		}
		cancel()
		reader.Stop()
	}
}
