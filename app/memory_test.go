package app

import (
	"errors"
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestMemoryLimitFollowsWhatIsInUse(t *testing.T) {
	for _, c := range []struct{ inUse, allowed, want int64 }{
		{0, math.MaxInt64, memoryAim},
		{500 << 20, math.MaxInt64, memoryAim},
		{2 << 30, math.MaxInt64, 3 << 30},
		{0, 460 << 20, 460 << 20},
		{2 << 30, 2500 << 20, 2500 << 20},
	} {
		if got := memoryLimit(c.inUse, c.allowed); got != c.want {
			t.Errorf("with %d in use of %d: %d, want %d", c.inUse, c.allowed, got, c.want)
		}
	}
	kept := make([]byte, 50<<20)
	runtime.GC()
	if inUse := memoryInUse(); inUse < 50<<20 {
		t.Errorf("%d bytes are in use, of which %d are held here", inUse, len(kept))
	}
	runtime.KeepAlive(kept)
}

func TestAControlGroupAllowsLess(t *testing.T) {
	for _, c := range []struct {
		limit uint64
		err   error
		want  int64
	}{{512 << 20, nil, 483183820}, {math.MaxUint64, nil, math.MaxInt64}, {0, errors.New("no control group"), math.MaxInt64}} {
		got := allowedMemory(func() (uint64, error) { return c.limit, c.err })
		if got != c.want {
			t.Errorf("with a limit of %d (%v): %d, want %d", c.limit, c.err, got, c.want)
		}
	}
}

func TestMemoryIsBoundedUnlessTheEnvironmentSays(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	debug.SetMemoryLimit(math.MaxInt64)
	limitWhileRunning := func() int64 {
		release := boundMemory(nil)
		limit := debug.SetMemoryLimit(-1)
		if err := release(t.Context()); err != nil {
			t.Error(err)
		}
		return limit
	}
	want := memoryLimit(0, allowedMemory(memlimit.FromCgroup))
	if limit := limitWhileRunning(); limit != want {
		t.Errorf("the limit is %d, want %d", limit, want)
	}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		t.Errorf("the limit stays at %d", limit)
	}
	t.Setenv("GOMEMLIMIT", "100MiB")
	if limit := limitWhileRunning(); limit != math.MaxInt64 {
		t.Errorf("the limit is %d in spite of GOMEMLIMIT", limit)
	}
}

func TestGarbageIsCollectedAsOftenAsThePartsNeed(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "1GiB")
	t.Setenv("GOGC", "")
	const usual = 100
	debug.SetGCPercent(usual)
	percentOf := func(parts ...Part) int {
		release := boundMemory(parts)
		percent := debug.SetGCPercent(usual)
		debug.SetGCPercent(percent)
		if err := release(t.Context()); err != nil {
			t.Error(err)
		}
		return percent
	}
	for what, got := range map[string][2]int{
		"a worker":       {percentOf(PartBridge, PartWorker), WorkerGrowth},
		"a bridge":       {percentOf(PartBridge), BridgeGrowth},
		"bridge and API": {percentOf(PartBridge, PartAPI), usual},
		"after a worker": {debug.SetGCPercent(usual), usual},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d per cent, want %d", what, got[0], got[1])
		}
	}
	t.Setenv("GOGC", "50")
	if percent := percentOf(PartWorker); percent != usual {
		t.Errorf("it is %d per cent in spite of GOGC", percent)
	}
}
