package pipeline

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// PartitionKey is the key of a partition's reader, and the name of its cursor.
func PartitionKey(partition int) string { return PartitionKeyPrefix + strconv.Itoa(partition) }

// Keys are all keys that the live workers share out among them.
func Keys() []string {
	keys := make([]string, 0, Partitions+2)
	for partition := range Partitions {
		keys = append(keys, PartitionKey(partition))
	}
	return append(keys, RouterKey, AutoscalerKey)
}

// share is the keys that fall to the worker.
func share(worker string, workers []string) map[string]bool {
	owned := map[string]bool{}
	for key, owner := range owners(workers) {
		if owner == worker {
			owned[key] = true
		}
	}
	return owned
}

// claim is how much a worker weighs for a key.
type claim struct {
	key, worker string
	weight      uint64
}

// owners says whose each key is: the worker's with the highest weight for it,
// but nobody gets more than his part of the partitions. So every worker finds
// the same without asking, one that comes or goes moves little but its own part,
// and twice as many workers do twice as much.
func owners(workers []string) map[string]string {
	if len(workers) == 0 {
		return nil
	}
	var claims []claim
	for _, key := range Keys() {
		for _, worker := range workers {
			claims = append(claims, claim{key, worker, weigh(key, worker)})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(b.worker, a.worker), cmp.Compare(a.key, b.key))
	})
	most := (Partitions + len(workers) - 1) / len(workers)
	owner, partitions := map[string]string{}, map[string]int{}
	for _, c := range claims {
		isPartition := strings.HasPrefix(c.key, PartitionKeyPrefix)
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

func weigh(key, worker string) uint64 {
	sum := sha256.Sum256([]byte(key + "\x00" + worker))
	return binary.BigEndian.Uint64(sum[:8])
}
