package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
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

// share is the keys that fall to the worker. Each key goes to the worker with
// the highest weight for it: every worker finds the same without asking, and
// one that comes or goes moves only its own share.
func share(worker string, workers []string) map[string]bool {
	owned := map[string]bool{}
	for _, key := range Keys() {
		if heaviest(key, workers) == worker {
			owned[key] = true
		}
	}
	return owned
}

func heaviest(key string, workers []string) string {
	winner, most := "", uint64(0)
	for _, worker := range workers {
		// Of equal weights the later name wins, everywhere.
		if weight := weigh(key, worker); winner == "" || weight > most || weight == most && worker > winner {
			winner, most = worker, weight
		}
	}
	return winner
}

func weigh(key, worker string) uint64 {
	sum := sha256.Sum256([]byte(key + "\x00" + worker))
	return binary.BigEndian.Uint64(sum[:8])
}
