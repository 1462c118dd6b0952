package work

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/pipeline"
)

// Owners returns which worker each key belongs to, as every worker finds it for itself. Those
// that cannot reach oned get nothing while another can, and those of an older
// version nothing while there is a newer one, whose records they could not read.
func Owners(live map[string]pipeline.WorkerBeat) map[string]string {
	able := slices.Sorted(maps.Keys(live))
	reaching := slices.DeleteFunc(slices.Clone(able), func(worker string) bool { return live[worker].OnedUnreachable })
	if len(reaching) > 0 {
		able = reaching
	}
	newest := 0
	for _, worker := range able {
		newest = max(newest, live[worker].Version)
	}
	return rendezvous(slices.DeleteFunc(able, func(worker string) bool { return live[worker].Version < newest }))
}

type claim struct {
	key, worker string
	weight      uint64
}

// rendezvous gives each key to the worker with the highest weight for it, but nobody gets more than
// his part of the partitions. So every worker finds the same without asking, one that comes or goes
// moves little but its own part, and twice as many workers do twice as much.
func rendezvous(workers []string) map[string]string {
	if len(workers) == 0 {
		return nil
	}
	var claims []claim
	for _, key := range pipeline.Keys() {
		for _, worker := range workers {
			sum := sha256.Sum256([]byte(key + "\x00" + worker))
			claims = append(claims, claim{key, worker, binary.BigEndian.Uint64(sum[:8])})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(b.worker, a.worker), cmp.Compare(a.key, b.key))
	})
	most := (pipeline.Partitions + len(workers) - 1) / len(workers)
	owner, partitions := map[string]string{}, map[string]int{}
	for _, c := range claims {
		isPartition := strings.HasPrefix(c.key, pipeline.PartitionKeyPrefix)
		if owner[c.key] != "" || isPartition && partitions[c.worker] == most {
			continue
		}
		owner[c.key] = c.worker
		if isPartition {
			partitions[c.worker]++
		}
	}
	return owner
}
