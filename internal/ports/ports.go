// Package ports finds ports on 127.0.0.1 for servers which a test starts,
// kills and starts again at the same address. A server that starts once listens
// on port 0 instead and says where it is.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// The range lies below the ports which systems give to outgoing connections
// (from 32768 on Linux, 49152 elsewhere): one of those could take the port
// between a kill and the restart.
const (
	lowest = 10000
	beyond = 32768
	tries  = 1000
)

// Free are addresses (host:port) on which nobody listens.
func Free(t testing.TB, count int) []string {
	t.Helper()
	addresses := make([]string, 0, count)
	for range tries {
		if len(addresses) == count {
			return addresses
		}
		address := fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(beyond-lowest)) //nolint:gosec // Nothing secret is drawn here.
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil {
			continue
		}
		defer listener.Close() // Only at the end, so that none is drawn twice.
		addresses = append(addresses, address)
	}
	t.Fatalf("find %d free ports from %d to %d: %d were free", count, lowest, beyond-1, len(addresses))
	return nil
}
