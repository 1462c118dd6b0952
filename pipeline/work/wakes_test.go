package work

import (
	"fmt"
	"testing"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"
)

// TestWakesKeepTheirOrder: many wakes at once arrive as if sent one by one, each
// in its partition, and none twice.
func TestWakesKeepTheirOrder(t *testing.T) {
	for name, p := range map[string]clients{"one server": single(t), "three servers": open(t, natstest.Cluster(t, 3).URL(), replicas(3))} {
		t.Run(name, func(t *testing.T) {
			ctx := limited(t)
			const services, rounds = 40, 30
			var wakes []pipeline.Wake
			for round := range rounds {
				for service := range services {
					wakes = append(wakes, pipeline.Wake{
						Work: pipeline.Work{Service: service, Reason: fmt.Sprint(round)}, MessageID: fmt.Sprintf("%d-%d", service, round),
					})
				}
			}
			must(t, p.PublishWakes(ctx, wakes[:5], nil))
			must(t, p.PublishWakes(ctx, wakes, nil)) // the first five once more
			next, expected := map[int]int{}, map[int]int{}
			for service := range services {
				expected[pipeline.Partition(service)] += rounds
			}
			for partition := range pipeline.Partitions {
				reader, err := p.ReadPartition(ctx, partition, 0)
				must(t, err)
				for range expected[partition] {
					input, err := reader.Next(ctx)
					must(t, err)
					service := input.Work.Service
					if pipeline.Partition(service) != partition || input.Work.Reason != fmt.Sprint(next[service]) {
						t.Fatalf("service %d in partition %d is woken by %q, want round %d", service, partition, input.Work.Reason, next[service])
					}
					next[service]++
				}
				reader.Stop()
			}
		})
	}
}
