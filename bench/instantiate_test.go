package bench

import (
	"fmt"
	"testing"
	"time"
)

// rounds is how many samples one benchmark takes.
const rounds = 100

// BenchmarkInstantiate is the time from POST instantiate to its answer. The
// floor is the one call to oned that it cannot do without: allocating the
// document.
func BenchmarkInstantiate(b *testing.B) {
	s := newStand(b)
	path := s.template(b, `{"name": "bench", "roles": [{"name": "a", "type": "vm", "cardinality": 1, "template_id": 0}]}`)
	s.post(b, path, instantiate)
	var ours, floor []time.Duration
	for b.Loop() {
		for i := range rounds {
			began := time.Now()
			s.post(b, path, instantiate)
			ours = append(ours, time.Since(began))

			began = time.Now()
			_, err := s.oned.For("oneadmin").AllocateDocument(b.Context(), 102, "floor", fmt.Appendf(nil, `{"n":%d}`, i))
			floor = append(floor, time.Since(began))
			must(b, err)
		}
	}
	report(b, "POST instantiate to its answer", ours, floor)
}
