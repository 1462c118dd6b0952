// Package ports finds ports on 127.0.0.1 for servers which a test starts, kills and starts again at
// the same address. A server that starts once listens on port 0 instead and reports its address.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The range lies below the ports which systems give to outgoing connections (from 32768 on Linux,
// 49152 elsewhere): one of those could take the port between a kill and the restart.
const (
	lowest = 10000
	beyond = 32768
	tries  = 1000
)

// A port is given once in a process: between its drawing and the start of its server, and while
// that is stopped, no server listens on it, and another test would find it free.
var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Free returns addresses (host:port) on which no server listens.
func Free(t testing.TB, count int) []string {
	t.Helper()
	addresses := make([]string, count)
	for i, port := range FreeNumbers(t, count) {
		addresses[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	return addresses
}

// FreeNumbers returns the port numbers of such addresses.
func FreeNumbers(t testing.TB, count int) []int {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	free := make([]int, 0, count)
	for range tries {
		if len(free) == count {
			return free
		}
		port := lowest + rand.IntN(beyond-lowest) //nolint:gosec // Nothing secret is drawn here.
		if given[port] {
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		given[port] = true
		free = append(free, port)
	}
	t.Fatalf("find %d free ports from %d to %d: %d were free", count, lowest, beyond-1, len(free))
	return nil
}
