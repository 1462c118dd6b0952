package bridge

import (
	"context"
	"runtime"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// largeCloud is an oned with so many running VMs, of which it makes a page when
// it is asked for one.
type largeCloud struct{ count int }

func (l largeCloud) VMs(_ context.Context, _, start, end, _ int) ([]one.VM, error) {
	if end == newestTwo {
		return []one.VM{running(l.count - 1)}, nil
	}
	if end < 0 {
		end = l.count - 1
	}
	var page []one.VM
	for id := start; id <= min(end, l.count-1); id++ {
		page = append(page, running(id))
	}
	return page, nil
}

func (l largeCloud) VM(_ context.Context, id int) (one.VM, error) { return running(id), nil }

func (l largeCloud) Networks(context.Context, int) ([]opennebula.Network, error) { return nil, nil }
func (l largeCloud) Network(context.Context, int) (opennebula.Network, error) {
	return opennebula.Network{}, nil
}

func heapInUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A comparison of 100,000 VMs keeps about 100 bytes a VM, and publishes nothing
// the second time.
func TestComparisonOfManyVMsIsBoundedInMemory(t *testing.T) {
	cloud := largeCloud{count: 100_000}
	if testing.Short() || raceEnabled {
		cloud.count = 10_000
	}
	p := newPipeline(t)
	b := newBridge(quietly(), newStore(p), cloud, nil)
	r := b.resyncer.newComparison()
	// What JetStream acknowledged too late is counted by nobody, and found stored.
	for must(t, r.run(limited(t))); r.stored > 0; must(t, r.run(limited(t))) {
	}
	stream, err := p.JetStream().Stream(t.Context(), pipeline.StreamONE)
	must(t, err)
	if stored := stream.CachedInfo().State.LastSeq; stored != uint64(cloud.count) {
		t.Errorf("%d of %d differences are stored", stored, cloud.count)
	}
	known := 0
	r.kinds[0].index.All(func(int, feeds.StoredObject) { known++ })
	if known != cloud.count {
		t.Errorf("%d VMs are known", known)
	}
	// The server is in this process too: what counts is what goes with the index.
	with := heapInUse()
	r.kinds = nil
	held := int64(with) - int64(heapInUse())
	t.Logf("%d VMs: %d KiB", cloud.count, held>>10)
	// Other parts of the process let go of memory meanwhile: a fixed share of it.
	const elsewhere = 4 << 20
	if held > elsewhere+int64(cloud.count)*150 {
		t.Errorf("%d bytes a VM", held/int64(cloud.count))
	}
}
