package feeds

import (
	"fmt"
	"testing"

	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

// BenchmarkFeedBurst stores so many events by one call: few one right behind the other,
// more in an atomic batch.
func BenchmarkFeedBurst(b *testing.B) {
	for _, size := range []int{1, 8, js.MaxBurst, js.MaxBurst + 1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p, ctx := clientsOf(pipetest.Durable(b)), b.Context()
			lease, err := p.acquire(ctx, "bench", "bench")
			must(b, err)
			for i := 0; b.Loop(); i++ {
				must(b, lease.Publish(ctx, feedEvents(i*size, (i+1)*size)))
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
