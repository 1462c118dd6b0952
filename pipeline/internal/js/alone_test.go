package js

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
)

// TestAServerThatReachesNoOtherDoesNotSayWhereAStreamEnds: it answers with what its replica has.
func TestAServerThatReachesNoOtherDoesNotSayWhereAStreamEnds(t *testing.T) {
	nodes := natstest.Cluster(t, 3)
	_, leader := open(t, nodes.URL(), 3), nodes.Leader("S")
	alone := nodes[slices.IndexFunc(nodes, func(node *natstest.Node) bool { return node != leader })]
	stream := open(t, alone.URL(), 3).Stream("S")
	ask := func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), time.Second) }
	ctx, cancel := ask()
	_, err := stream.End(ctx)
	cancel()
	must(t, err)
	for _, node := range nodes {
		if node != alone {
			node.Stop()
		}
	}
	poll.Until(t, "the server to answer for the stream", func() bool {
		ctx, cancel := ask()
		defer cancel()
		info, err := stream.Info(ctx)
		return err == nil && info.Cluster.Leader == ""
	})
	ctx, cancel = ask()
	defer cancel()
	if end, err := stream.End(ctx); err == nil {
		t.Errorf("without a leader the stream ends at %d", end)
	}
}
