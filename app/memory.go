package app

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/flowjet/flowjet/internal/idle"
)

// memoryAim is the memory that a process should stay below, in bytes: enough for 10,000 services with 100,000 VMs, all
// parts together.
const memoryAim = 900 << 20

// By how many per cent the heap may grow, within memoryAim, before garbage is collected. For a worker Go's own 100 collects
// twice as often, and a command in the meantime waits for that. The heap of a bridge by itself is waiting messages, which
// are quickly scanned.
const (
	WorkerGrowth = 200
	BridgeGrowth = 50
)

// memoryPause is the time between two checks whether a process needs more memory.
const memoryPause = time.Second

// cgroupShare is the share of its control group's memory that a process may use: a container is killed at its limit, which
// includes more than Go's memory.
const cgroupShare = 0.9

// boundMemory makes the garbage collector keep the process below memoryAim, or below most of what its control group (a
// container, a unit's MemoryMax) allows. By default Go lets a process grow to twice its heap, on hosts where oned and its
// database want memory too. Within the bound a worker may grow to three times as much, and a bridge to half as much again.
// GOMEMLIMIT and GOGC take precedence. release ends it, and restores the former settings.
func boundMemory(parts []Part) (release func(context.Context) error) {
	growth, restore := 0, func() {} // 0 is Go's own
	switch {
	case slices.Contains(parts, PartWorker):
		growth = WorkerGrowth
	case len(parts) == 1 && parts[0] == PartBridge:
		growth = BridgeGrowth
	}
	if growth > 0 && os.Getenv("GOGC") == "" {
		before := debug.SetGCPercent(growth)
		restore = func() { debug.SetGCPercent(before) }
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return func(context.Context) error { restore(); return nil }
	}
	allowed := allowedMemory(memlimit.FromCgroup)
	before := debug.SetMemoryLimit(memoryLimit(0, allowed))
	stop := inBackground(context.Background(), func(ctx context.Context) {
		for idle.For(ctx, memoryPause) == nil {
			debug.SetMemoryLimit(memoryLimit(memoryInUse(), allowed))
		}
	})
	return func(ctx context.Context) error {
		defer restore()
		defer debug.SetMemoryLimit(before)
		return stop(ctx)
	}
}

// memoryLimit leaves half as much again as is in use: with less, garbage would be collected all the time. It never exceeds
// the allowed memory.
func memoryLimit(inUse, allowed int64) int64 {
	return min(max(memoryAim, inUse+inUse/2), allowed)
}

// allowedMemory returns the process's share of its control group's limit in bytes, and math.MaxInt64 without one.
func allowedMemory(limit memlimit.Provider) int64 {
	bytes, err := limit()
	if err != nil || bytes == 0 || bytes > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(float64(bytes) * cgroupShare)
}

// memoryInUse returns the size of the heap after the last garbage collection, in bytes.
func memoryInUse() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(sample[0].Value.Uint64()) //nolint:gosec // less than the host's memory
}
