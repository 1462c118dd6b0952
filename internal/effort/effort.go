// Package effort bounds the work of tests by the size of the input: work that grows faster than its input is found, on a busy
// machine as on an idle one, because its processor time is compared with that of other work.
package effort

import (
	"crypto/sha256"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bytesPerByte = 1 << 10 // with free, how much may be allocated for a byte of input, and besides
	free         = 64 << 20
	hashes       = 20_000 // how many hashes over the input, and over as many bytes besides, may be computed in the time
	alike        = 4 << 10
	attempts     = 5 // how many are made before the work counts as too long: other processes share the processor's caches
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

// timed returns the processor time of work in this goroutine.
func timed(work func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := processorTime()
	work()
	return processorTime() - began
}

// processorTime returns that of the current thread.
func processorTime() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		panic("effort: " + err.Error()) // every Unix has this clock
	}
	return time.Duration(used.Nano())
}
