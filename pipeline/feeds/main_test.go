package feeds

import (
	"testing"

	"go.uber.org/goleak"

	"context"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
	"github.com/flowjet/flowjet/pipeline/work"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	limited  = pipetest.Limited
	must     = pipetest.Must
	replicas = pipetest.Replicas
)

// clients are those that the tests use.
type clients struct {
	*pipeline.Pipeline
	*Feeds
	*work.Queue
}

func clientsOf(p *pipeline.Pipeline) clients { return clients{p, New(p), work.NewQueue(p)} }

func single(t testing.TB) clients { return clientsOf(pipetest.Single(t)) }

func open(t testing.TB, url string, change ...func(*pipeline.Config)) clients {
	return clientsOf(pipetest.Open(t, url, change...))
}

func onOneAndThree(t *testing.T, test func(t *testing.T, p clients)) {
	pipetest.OnOneAndThree(t, func(t *testing.T, p *pipeline.Pipeline) { test(t, clientsOf(p)) })
}

// acquire takes a feed over from whoever had it.
func (c clients) acquire(ctx context.Context, feed, holder string) (*Lease, error) {
	_, last, err := c.LastLease(ctx, feed)
	if err != nil {
		return nil, err
	}
	return c.Acquire(ctx, feed, holder, last)
}
