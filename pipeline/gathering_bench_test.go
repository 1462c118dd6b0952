package pipeline

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// BenchmarkGathering has as many callers as lanes work at a time each store one
// message after the other: gathered, and each by itself as the floor.
func BenchmarkGathering(b *testing.B) {
	for _, callers := range []int{1, 2, 20} {
		for _, way := range []string{"alone", "gathered"} {
			b.Run(fmt.Sprintf("%d/%s", callers, way), func(b *testing.B) {
				p := durable(b)
				store := p.history.store
				if way == "alone" {
					store = func(ctx context.Context, messages ...*nats.Msg) (uint64, error) {
						return 0, p.publishOrdered(ctx, messages, false)
					}
				}
				b.ResetTimer()
				var wait sync.WaitGroup
				for caller := range callers {
					wait.Go(func() {
						for n := range b.N {
							message := nats.NewMsg(ServiceEventSubject(caller, "RUNNING"))
							message.Header.Set("Nats-Msg-Id", fmt.Sprintf("%d-%d", caller, n))
							message.Data = Encode(Transition{Service: caller, Time: time.Now()})
							_, err := store(b.Context(), message)
							must(b, err)
						}
					})
				}
				wait.Wait()
				b.ReportMetric(float64(callers*b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}
