// Package effort bounds the work of tests by the size of the input: work that grows faster than its input is found, on a busy
// machine as on an idle one, because it is compared with other work and not with a clock.
package effort

import (
	"crypto/sha256"
	"runtime"
	"testing"
	"time"
)

const (
	bytesPerByte = 1 << 10 // with free, how much may be allocated for a byte of input, and besides
	free         = 64 << 20
	hashes       = 20_000 // how many hashes over the input, and over as many bytes besides, may be computed in the time
	alike        = 4 << 10
	attempts     = 5 // how many are made before the work counts as too long: another process may have had the processor
	measures     = 9 // how often the hash is measured, the shortest of which counts
)

// Bounded fails the test if work allocates or takes much more than an input of so many bytes justifies.
func Bounded(t testing.TB, size int, work func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	took := timed(work)
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > uint64(unpooled*(free+bytesPerByte*size)) {
		t.Fatalf("%d bytes of input have %d bytes allocated", size, allocated)
	}
	input := make([]byte, size+alike)
	for attempt := 1; ; attempt++ {
		floor := timed(func() { sha256.Sum256(input) })
		for range measures - 1 {
			floor = min(floor, timed(func() { sha256.Sum256(input) }))
		}
		if took <= slower*hashes*floor {
			return
		}
		if attempt == attempts {
			t.Fatalf("%d bytes of input take %v, a hash over them %v", size, took, floor)
		}
		took = min(took, timed(work))
	}
}

func timed(work func()) time.Duration {
	began := time.Now()
	work()
	return time.Since(began)
}
