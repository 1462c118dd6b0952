package inspect

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

// TestAServerThatIsAwayIsNamedOnce, however many copies it holds.
func TestAServerThatIsAwayIsNamedOnce(t *testing.T) {
	cluster := natstest.Cluster(t, 3)
	p, ctx := clientsOf(pipetest.Open(t, cluster.URL(), pipetest.Replicas(3))), limited(t)
	away := func() (names []string, all int) {
		overview, err := p.Overview(ctx, nil)
		if err != nil {
			return nil, 0 // a leader is being elected
		}
		for _, server := range overview.Servers {
			if server.Away {
				names = append(names, server.Name)
			}
		}
		return names, len(overview.Servers)
	}
	poll.Until(t, "all three servers to be there", func() bool { names, all := away(); return len(names) == 0 && all == 3 })
	cluster[2].Stop()
	stopped := time.Now()
	poll.Until(t, "the one that was stopped to be named", func() bool { names, all := away(); return len(names) == 1 && all == 3 })
	t.Logf("it took %s", time.Since(stopped).Round(time.Second))
}

// TestASilentServerIsAway although NATS has not noticed: it calls one that was killed offline
// after minutes.
func TestASilentServerIsAway(t *testing.T) {
	for _, test := range []struct {
		peer jetstream.PeerInfo
		want bool
	}{
		{jetstream.PeerInfo{Name: "a", Current: true, Active: time.Second}, false},
		{jetstream.PeerInfo{Name: "a", Current: true, Active: 6 * time.Second}, true},
		{jetstream.PeerInfo{Name: "a", Offline: true}, true},
		{jetstream.PeerInfo{}, false},
	} {
		if got := isAway(&test.peer); got != test.want {
			t.Errorf("%+v is away: %v", test.peer, got)
		}
	}
}
